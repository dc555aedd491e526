package client

import (
	"testing"
	"time"
)

// One node may be reached under two addresses, and at one address another node may
// live than yesterday. Calls are sent to peers, so two names of one node must
// become one peer, whichever of them is connected, and must stay one.
func TestPeersThatAreOneNode(t *testing.T) {
	for _, c := range []struct {
		name        string
		firstIsUp   bool
		gone, stays Peer
	}{
		{"the first is connected: the second connection is one too many", true, 1, 0},
		{"the first is not: it is a name for the second", false, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newPeers([]string{"a:1", "b:1"}, new(actions), new(chance))
			if found := k.identify(0, 7); found != (identity{gone: NoPeer, stays: NoPeer}) {
				t.Fatalf("the only peer of node 7: got %+v", found)
			}
			if c.firstIsUp {
				k.all[0].state = peerUp
			}
			if found := k.identify(1, 7); found != (identity{gone: c.gone, stays: c.stays}) {
				t.Fatalf("got %+v", found)
			}
			for _, addr := range []string{"a:1", "b:1"} {
				if p := k.at(addr); p != c.stays {
					t.Errorf("at %s is peer %d, want %d", addr, p, c.stays)
				}
			}
			if p := k.named(7, "c:1"); p != c.stays || k.at("c:1") != c.stays {
				t.Errorf("node 7 is peer %d, at another address peer %d, want %d", p, k.at("c:1"), c.stays)
			}
			if found := k.identify(c.stays, 8); !found.replaced || found.gone != NoPeer {
				t.Errorf("another node lives there: got %+v", found)
			}
			if p := k.named(7, ""); p != NoPeer {
				t.Errorf("node 7, which nobody has seen since, is peer %d", p)
			}
		})
	}
}

// Addresses that are learnt must not drive out the one that the user gave, nor
// grow without end: who lies in a table or a hint can make up any number.
func TestPeersKeepFewAddresses(t *testing.T) {
	k := newPeers([]string{"given:1"}, new(actions), new(chance))
	k.identify(0, 7)
	for i := range 20 {
		k.named(7, string(rune('a'+i))+":1")
	}
	if x := k.all[0]; len(x.addrs) != addrsMax || x.addrs[0] != "given:1" {
		t.Errorf("got %v", x.addrs)
	}
	for i := range 2 * PeerMax {
		k.at(string(rune('a'+i%26)) + time.Duration(i).String() + ":2")
	}
	if len(k.all) != PeerMax {
		t.Errorf("%d peers, want %d at most", len(k.all), PeerMax)
	}
	if p := k.at("one.more:1"); p != NoPeer {
		t.Errorf("one more is peer %d", p)
	}
}
