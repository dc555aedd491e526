package overview

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Mark is what of an overview must be known to tell what has changed since. It is all that a
// reader of events has to bring along to another node, which never saw that overview: so the
// events go on there without a gap.
type Mark struct {
	At      time.Time // to the millisecond
	Verdict Verdict
	About   string // the reason of the verdict, without what changes by itself
	Nodes   []MarkedNode
	// Groups has all groups, or none if Cut.
	Groups []MarkedGroup
	// Cut: there are more groups or nodes than a mark has room for. Changes of groups are not told to a reader
	// that comes with it.
	Cut  bool
	Jobs []MarkedJob
}

// MarkedNode is a node in a [Mark].
type MarkedNode struct {
	ID     string
	Status string
	Start  uint64
}

// MarkedGroup is a group in a [Mark].
type MarkedGroup struct {
	ID     int
	Led    bool
	Leader string // its id
	Term   uint64
}

// MarkedJob is a job in a [Mark].
type MarkedJob struct {
	ID    string
	State string
}

// Limits of a mark. It travels as the id of an event, in a line of a header.
const (
	markNodesMax  = 256
	markGroupsMax = 512
	markJobsMax   = shardmap.JobsMax + shardmap.JobsKept
	markAboutMax  = 256 // bytes
	// MarkMax bounds the text of a mark, in bytes.
	MarkMax = 16 << 10
)

var (
	statusDead    = wire.NodeDead.String()
	stateRunning  = shardmap.JobRunning.String()
	markStatuses  = markNames(wire.NodeStatus.String, wire.NodeAlive, wire.NodeDraining, StatusUnknown)
	markStates    = markNames(shardmap.JobState.String, shardmap.JobRunning, shardmap.JobFailed)
	markVerdicts  = []string{string(VerdictOK), string(VerdictWarning), string(VerdictError)}
	errMarkBroken = errors.New("it is cut off, or was changed")
)

// markNames are the names of some states, by their number in a mark.
func markNames[T ~uint8](name func(T) string, first, last T, more ...string) (names []string) {
	for x := first; x <= last; x++ {
		names = append(names, name(x))
	}
	return append(names, more...)
}

func (j *Job) ended() bool {
	i := slices.Index(markStates, j.State)
	return i >= 0 && (shardmap.JobRunning + shardmap.JobState(i)).Finished()
}

// number is an id of a job as a number.
func number(id string) uint64 {
	n, _ := strconv.ParseUint(id, 10, 64)
	return n
}

// newestJob is the highest id of a job.
func (m *Mark) newestJob() (newest uint64) {
	for _, j := range m.Jobs {
		newest = max(newest, number(j.ID))
	}
	return newest
}

// MarkOf returns the mark of an overview that follows upon another one; was is the mark of that,
// nil if there is none. What nobody has said this time stays as it was: else it would be news the
// next time.
func MarkOf(o *Overview, was *Mark) *Mark {
	m := markOf(o)
	if was == nil {
		return m
	}
	for i, n := range m.Nodes {
		k := slices.IndexFunc(was.Nodes, func(x MarkedNode) bool { return x.ID == n.ID })
		if n.Status == StatusUnknown && k >= 0 {
			m.Nodes[i] = was.Nodes[k]
		}
	}
	if !o.told {
		m.Groups, m.Cut = was.Groups, was.Cut
	}
	if !o.tabled {
		m.Jobs = was.Jobs
	}
	return m
}

// aboutOf is the reason of a verdict as a mark has it.
func aboutOf(o *Overview) string {
	about := cmp.Or(o.about, headline(o.Reason))
	return about[:min(len(about), markAboutMax)]
}

func markOf(o *Overview) *Mark {
	m := &Mark{At: o.At.Truncate(time.Millisecond), Verdict: o.Verdict, About: aboutOf(o)}
	ids := map[string]string{}
	for i := range o.Nodes {
		n := &o.Nodes[i]
		ids[n.Name] = n.ID
		if len(m.Nodes) < markNodesMax {
			m.Nodes = append(m.Nodes, MarkedNode{n.ID, n.Status, n.Start})
		}
	}
	if m.Cut = len(o.Groups) > markGroupsMax || len(o.Nodes) > markNodesMax; !m.Cut {
		for i := range o.Groups {
			g := &o.Groups[i]
			m.Groups = append(m.Groups, MarkedGroup{g.ID, g.Leader != "", ids[g.Leader], g.Term})
		}
	}
	for i := range o.Jobs {
		if len(m.Jobs) < markJobsMax {
			m.Jobs = append(m.Jobs, MarkedJob{o.Jobs[i].ID, o.Jobs[i].State})
		}
	}
	return m
}

// markVersion begins every mark. One of another version is refused.
const markVersion = 1

// String is the mark as the id of an event: letters, digits, '-' and '_'. In it stand, as unsigned
// varints but for the text, and then in base64 for URLs:
//
//	version · ms since 1970 · verdict · length and bytes of about
//	number of nodes, each: id · status · start
//	cut · number of groups, each: id · leader, as its place among the nodes, from 1; 0: none · term
//	number of jobs, each: id · state
//	CRC-32 of all that, 4 bytes, little endian
func (m *Mark) String() string {
	put := func(b []byte, all ...uint64) []byte {
		for _, n := range all {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	in := func(names []string, name string) uint64 { return uint64(max(slices.Index(names, name), 0)) }
	node := func(id string) uint64 { n, _ := strconv.ParseUint(id, 16, 64); return n }
	b := put([]byte{markVersion}, uint64(m.At.UnixMilli()), in(markVerdicts, string(m.Verdict)), uint64(len(m.About)))
	b = append(b, m.About...)
	b = put(b, uint64(len(m.Nodes)))
	for _, n := range m.Nodes {
		b = put(b, node(n.ID), in(markStatuses, n.Status), n.Start)
	}
	cut := uint64(0)
	if m.Cut {
		cut = 1
	}
	b = put(b, cut, uint64(len(m.Groups)))
	for _, g := range m.Groups {
		leader := 1 + slices.IndexFunc(m.Nodes, func(n MarkedNode) bool { return g.Led && n.ID == g.Leader })
		b = put(b, uint64(g.ID), uint64(leader), g.Term)
	}
	b = put(b, uint64(len(m.Jobs)))
	for _, j := range m.Jobs {
		b = put(b, number(j.ID), in(markStates, j.State))
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseMark reads what [Mark.String] wrote. It comes from a reader, so all of it is bounded and
// checked; a forged one changes nothing but what that reader is told to have changed.
func ParseMark(s string) (*Mark, error) {
	const want = "want the id of an event as this API gave it"
	if len(s) > MarkMax {
		return nil, fmt.Errorf("%d bytes; want at most %d", len(s), MarkMax)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 5 {
		return nil, errors.New(want)
	}
	if b[0] != markVersion {
		return nil, fmt.Errorf("of version %d, this node knows %d; leave it out", b[0], markVersion)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, fmt.Errorf("%w; %s", errMarkBroken, want)
	}
	r := markReader{b: body[1:]}
	m := &Mark{At: time.UnixMilli(int64(r.number(1 << 50)))}
	m.Verdict = Verdict(r.name(markVerdicts))
	m.About = r.text(int(r.number(markAboutMax)))
	for range r.number(markNodesMax) {
		m.Nodes = append(m.Nodes, MarkedNode{ID: raft.NodeID(r.number(^uint64(0))).String(), Status: r.name(markStatuses), Start: r.number(^uint64(0))})
	}
	m.Cut = r.number(1) == 1
	for range r.number(markGroupsMax) {
		g := MarkedGroup{ID: int(r.number(uint64(raft.GroupMax)))}
		if leader := r.number(uint64(len(m.Nodes))); leader != 0 {
			g.Led, g.Leader = true, m.Nodes[leader-1].ID
		}
		g.Term = r.number(^uint64(0))
		m.Groups = append(m.Groups, g)
	}
	for range r.number(markJobsMax) {
		m.Jobs = append(m.Jobs, MarkedJob{strconv.FormatUint(r.number(^uint64(0)), 10), r.name(markStates)})
	}
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("%w; %s", errMarkBroken, want)
	}
	return m, nil
}

// markReader reads numbers until one is bad; then all that follow are 0.
type markReader struct {
	b   []byte
	bad bool
}

func (r *markReader) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if r.bad || size <= 0 || n > most {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *markReader) name(names []string) string { return names[r.number(uint64(len(names)-1))] }

func (r *markReader) text(n int) string {
	if r.bad || n > len(r.b) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
