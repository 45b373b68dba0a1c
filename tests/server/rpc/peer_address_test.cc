#include "server/rpc/peer_address.h"

#include <gtest/gtest.h>

namespace lazynorm {
namespace {

TEST(PeerAddressTest, IsWithoutThePortAndWithoutEscapes) {
  EXPECT_EQ(PeerAddress("ipv4:127.0.0.1:4711"), "ipv4:127.0.0.1");
  EXPECT_EQ(PeerAddress("ipv6:%5B::1%5D:4711"), "ipv6:[::1]");
  EXPECT_EQ(PeerAddress("ipv6:%5Bfe80::1%25eth0%5D:1"), "ipv6:[fe80::1%eth0]");
  EXPECT_EQ(PeerAddress("unix:"), "unix:");
  EXPECT_EQ(PeerAddress("unix:/run/a%5B:b"), "unix:/run/a%5B:b");
}

}  // namespace
}  // namespace lazynorm
