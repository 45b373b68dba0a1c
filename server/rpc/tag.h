#ifndef LAZYNORM_SERVER_RPC_TAG_H_
#define LAZYNORM_SERVER_RPC_TAG_H_

#include <atomic>

namespace lazynorm {

// What a completion queue carries: one operation on its way. One at a time.
class Tag {
 public:
  // What gRPC is given for the operation: a Tag*, whatever it is converted to on the way.
  Tag* Send() {
    on_its_way_.store(true, std::memory_order_release);
    return this;
  }
  // The operation came back; `ok` is false if it came to nothing. Called by the polling thread,
  // which from here on sees all that was done before Send, and ThreadSanitizer sees that it does:
  // into gRPC's queue it cannot see.
  void Arrive(bool ok) {
    on_its_way_.load(std::memory_order_acquire);
    Complete(ok);
  }

 protected:
  ~Tag() = default;
  virtual void Complete(bool ok) = 0;

 private:
  std::atomic<bool> on_its_way_ = false;
};

// A tag that is one method of its owner, and lives inside it.
template <typename Owner, void (Owner::*kMethod)(bool)>
class MemberTag final : public Tag {
 public:
  explicit MemberTag(Owner* owner) : owner_(owner) {}

 protected:
  void Complete(bool ok) override { (owner_->*kMethod)(ok); }

 private:
  Owner* const owner_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TAG_H_
