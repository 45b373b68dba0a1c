#ifndef LAZYNORM_SERVER_RPC_PEER_ADDRESS_H_
#define LAZYNORM_SERVER_RPC_PEER_ADDRESS_H_

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace lazynorm {

// The address of a caller for people: gRPC's ("ipv4:127.0.0.1:4711", "ipv6:%5B::1%5D:4711",
// "unix:") without the escapes of a URI, and without the port, which is another for each
// connection.
inline std::string PeerAddress(absl::string_view peer) {
  if (!absl::StartsWith(peer, "ip")) return std::string(peer);
  return absl::StrReplaceAll(peer.substr(0, peer.rfind(':')),
                             {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
}

}  // namespace lazynorm

#endif  // LAZYNORM_SERVER_RPC_PEER_ADDRESS_H_
