#ifndef LAZYNORM_SERVER_RPC_TAG_H_
#define LAZYNORM_SERVER_RPC_TAG_H_

namespace lazynorm {

// What a completion queue carries: one operation on its way.
class Tag {
 public:
  // The operation is over; `ok` is false if it came to nothing. Called on a polling thread.
  virtual void Complete(bool ok) = 0;

 protected:
  ~Tag() = default;
};

// A tag that is one method of its owner. Lives inside the owner and is used for one operation at a
// time.
template <typename Owner, void (Owner::*kMethod)(bool)>
class MemberTag final : public Tag {
 public:
  explicit MemberTag(Owner* owner) : owner_(owner) {}
  // What gRPC is given: a Tag*, whatever it is converted to on the way.
  Tag* tag() { return this; }
  void Complete(bool ok) override { (owner_->*kMethod)(ok); }

 private:
  Owner* const owner_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_TAG_H_
