#ifndef LAZYNORM_TESTS_SUPPORT_KEPT_PORT_H_
#define LAZYNORM_TESTS_SUPPORT_KEPT_PORT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace lazynorm {

// A free port of the loopback for a server that comes and goes. Nobody else is given it while this
// lives: it is bound here too, though not listened at. lazynormd shares such a port by
// SO_REUSEADDR, servers of gRPC's own kind by SO_REUSEPORT.
class KeptPort {
 public:
  KeptPort() {
    const int yes = 1;
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
        setsockopt(socket_, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) != 0 ||
        bind(socket_, any, size) != 0 || getsockname(socket_, any, &size) != 0) {
      perror("a free port");
      abort();
    }
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~KeptPort() { close(socket_); }
  KeptPort(const KeptPort&) = delete;
  KeptPort& operator=(const KeptPort&) = delete;

  // Such as "127.0.0.1:40000".
  const std::string& address() const { return address_; }

 private:
  const int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string address_;
};

}  // namespace lazynorm

#endif  // LAZYNORM_TESTS_SUPPORT_KEPT_PORT_H_
