package wire

import "muster/raft"

// NonceSize and ProofSize are the bytes of a hello's random number and of its
// HMAC-SHA256.
const (
	NonceSize = 32
	ProofSize = 32
)

// Nonce is used once, so that no proof can be used twice.
type Nonce [NonceSize]byte

// Hello is the first frame, from the side that dialled.
type Hello struct {
	VersionMin, VersionMax uint8       // as in the preamble
	Cluster                string      // name; a client may leave it empty: any
	ClusterID              uint64      // 0: not known yet, or, from a client, any
	Node                   raft.NodeID // of a peer; 0 for a client
	Start                  uint64      // the peer's start counter
	Role                   Role
	Advertise              string // address under which the peer is to be dialled
	Level                  uint32 // the highest that the peer understands
	Nonce                  Nonce
	Window                 uint32 // how many writes of one session the client keeps unanswered at most
}

func (h *Hello) fields(f *fields) {
	f.atLeast(11, func() {
		number(f, "version_min", &h.VersionMin)
		number(f, "version_max", &h.VersionMax)
		f.text("cluster", &h.Cluster)
		number(f, "cluster_id", &h.ClusterID)
		number(f, "node", &h.Node)
		number(f, "start", &h.Start)
		number(f, "role", &h.Role)
		f.text("advertise", &h.Advertise)
		number(f, "level", &h.Level)
		f.nonce("nonce", &h.Nonce)
		number(f, "window", &h.Window)
	})
}

// Challenge answers a Hello.
type Challenge struct {
	Version    uint8 // that both will speak: the highest in both ranges
	Cluster    string
	ClusterID  uint64 // 0: the host has not founded its cluster yet
	Node       raft.NodeID
	Start      uint64
	Nonce      Nonce
	Level      uint32
	NeedsProof bool   // the acceptor has a secret
	Advertise  string // address under which the acceptor is to be dialled
}

func (c *Challenge) fields(f *fields) {
	f.atLeast(9, func() {
		number(f, "version", &c.Version)
		f.text("cluster", &c.Cluster)
		number(f, "cluster_id", &c.ClusterID)
		number(f, "node", &c.Node)
		number(f, "start", &c.Start)
		f.nonce("nonce", &c.Nonce)
		number(f, "level", &c.Level)
		f.flag("needs_proof", &c.NeedsProof)
		f.text("advertise", &c.Advertise)
	})
}

// Proof answers a Challenge: the dialler proves first.
type Proof struct {
	Proof []byte // empty if none was asked for
}

func (p *Proof) fields(f *fields) {
	f.atLeast(1, func() { f.proof("proof", &p.Proof) })
}

// Welcome answers a Proof and ends the hello.
type Welcome struct {
	Proof     []byte // the acceptor's own; empty if none was asked for
	ValueMax  uint32 // bytes of the largest value that the cluster takes
	FrameMax  uint32 // bytes of the largest body that the acceptor reads
	WindowMax uint32 // the acceptor keeps the outcomes of so many writes of one session
	Level     uint32 // that the cluster is at
}

func (w *Welcome) fields(f *fields) {
	f.atLeast(5, func() {
		f.proof("proof", &w.Proof)
		number(f, "value_max", &w.ValueMax)
		number(f, "frame_max", &w.FrameMax)
		number(f, "window_max", &w.WindowMax)
		number(f, "level", &w.Level)
	})
}

// Empty is the body of a frame that says nothing beyond its type.
type Empty struct{}

func (*Empty) fields(f *fields) { f.exactly(0, func() {}) }

func (h *Hello) Append(b []byte) []byte     { return appendFields(b, h) }
func (c *Challenge) Append(b []byte) []byte { return appendFields(b, c) }
func (p *Proof) Append(b []byte) []byte     { return appendFields(b, p) }
func (w *Welcome) Append(b []byte) []byte   { return appendFields(b, w) }
func (e *Empty) Append(b []byte) []byte     { return appendFields(b, e) }

func (h *Hello) Read(body []byte) error     { return readFields(body, h) }
func (c *Challenge) Read(body []byte) error { return readFields(body, c) }
func (p *Proof) Read(body []byte) error     { return readFields(body, p) }
func (w *Welcome) Read(body []byte) error   { return readFields(body, w) }
func (e *Empty) Read(body []byte) error     { return readFields(body, e) }
