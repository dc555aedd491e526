package wire

import (
	"fmt"

	"muster/raft"
)

// Attest asks a member, over the connection on which it was dialled at its own
// address, whether a connection that came in its name is its own:
//
//	[nonce]
type Attest struct {
	Nonce Nonce // of the challenge that the connection was given
}

func (v *Attest) fields(f *fields) {
	f.exactly(1, func() { f.nonce("nonce", &v.Nonce) })
}

// AttestAnswer answers an [Attest]:
//
//	[nonce, addr]
type AttestAnswer struct {
	Nonce Nonce
	Addr  string // that was dialled for the connection; empty: the connection is not this node's
}

func (v *AttestAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		f.nonce("nonce", &v.Nonce)
		f.text("addr", &v.Addr)
	})
}

// AddressesMax bounds the nodes of one [Addresses].
const AddressesMax = 1024

// NodeAddr is where a node was found.
type NodeAddr struct {
	Node raft.NodeID
	Addr string
}

func nodeAddr(f *fields, a *NodeAddr) {
	f.exactly(2, func() {
		number(f, "node", &a.Node)
		f.text("addr", &a.Addr)
	})
}

const nodeAddrMin = 3 // bytes

// Addresses tells another member where the sender has found others. It is a
// hint: whoever reads it dials them before it believes it.
type Addresses struct {
	Nodes []NodeAddr // AddressesMax at most
}

func (a *Addresses) fields(f *fields) {
	f.exactly(1, func() {
		list(f, "nodes", &a.Nodes, nodeAddrMin, nodeAddr)
	})
}

func (v *Attest) Append(b []byte) []byte       { return appendFields(b, v) }
func (v *AttestAnswer) Append(b []byte) []byte { return appendFields(b, v) }
func (a *Addresses) Append(b []byte) []byte    { return appendFields(b, a) }

func (v *Attest) Read(body []byte) error       { return readFields(body, v) }
func (v *AttestAnswer) Read(body []byte) error { return readFields(body, v) }
func (a *Addresses) Read(body []byte) error    { return readFields(body, a) }

// Check refuses more than [AddressesMax] nodes, and texts that are no addresses.
func (a *Addresses) Check() error {
	if len(a.Nodes) > AddressesMax {
		return fmt.Errorf("%d nodes, at most %d are told at once", len(a.Nodes), AddressesMax)
	}
	for i := range a.Nodes {
		if e := checkText("addresses", "addr", a.Nodes[i].Addr, AddrMax); e != nil {
			return e
		}
	}
	return nil
}
