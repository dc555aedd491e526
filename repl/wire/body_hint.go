package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/access"
)

// HintWhere is where a [Hint] is to be kept. Numbers are for ever.
type HintWhere uint8

const (
	HintHere  HintWhere = 1 // by the node that is asked
	HintGroup HintWhere = 2 // by a node that has a replica of the group
	HintAny   HintWhere = 3 // by such a node, or else by the node that is asked
)

func (w HintWhere) String() string {
	switch w {
	case HintHere:
		return "here"
	case HintGroup:
		return "group"
	case HintAny:
		return "any"
	}
	return fmt.Sprintf("where %d", uint8(w))
}

// HintPointsMax bounds the points of a [Hint]: a share and its head.
const HintPointsMax = shardmap.PointsSizeMax + 4<<10

// Hint has a node keep points for a group that can't take them now. They come to it as a fill, as soon as it can:
//
//	[where, group, points]
//
// Points are the item of a command of kind points, with mode write. The answer comes when they are durable at the node that keeps
// them. To send it again does no harm. Since level 10.
type Hint struct {
	Where  HintWhere
	Group  raft.GroupID
	Points []byte
}

func (m *Hint) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "where", &m.Where)
		number(f, "group", &m.Group)
		f.bin("points", &m.Points)
	})
}

// Append appends the body.
func (m *Hint) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body. It does not look into the points.
func (m *Hint) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Where < HintHere || m.Where > HintAny:
		return fmt.Errorf("field where: %d; want %d, %d or %d", m.Where, HintHere, HintGroup, HintAny)
	case m.Group == 0 || m.Group > raft.GroupMax:
		return fmt.Errorf("field group: %d; want 1 to %d", m.Group, raft.GroupMax)
	case len(m.Points) == 0 || len(m.Points) > HintPointsMax:
		return fmt.Errorf("field points: %d bytes; want 1 to %d", len(m.Points), HintPointsMax)
	}
	return nil
}

// HintAnswer answers a [Hint]: [node].
type HintAnswer struct {
	Node raft.NodeID // that keeps it
}

func (m *HintAnswer) fields(f *fields) {
	f.atLeast(1, func() { number(f, "node", &m.Node) })
}

// Append appends the body.
func (m *HintAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *HintAnswer) Read(body []byte) error { return readFields(body, m) }

// eachOfHint: it takes what it takes to write the points.
func eachOfHint(body []byte, yield func(access.Need) bool) error {
	var h Hint
	if err := h.Read(body); err != nil {
		return err
	}
	return shardmap.EachNeedOfPoints(h.Points, yield)
}

// HintsAct is what a [Hints] wants. Numbers are for ever.
type HintsAct uint8

const (
	HintsList  HintsAct = 1 // what waits?
	HintsRetry HintsAct = 2 // try it at once
	HintsPurge HintsAct = 3 // give it up: points are lost
)

func (a HintsAct) String() string {
	switch a {
	case HintsList:
		return "list"
	case HintsRetry:
		return "retry"
	case HintsPurge:
		return "purge"
	}
	return fmt.Sprintf("act %d", uint8(a))
}

// Hints asks a node about the hints that it keeps, after it has done something with them: [act, all, group]. Since level 10.
type Hints struct {
	Act   HintsAct
	All   bool         // of all groups
	Group raft.GroupID // of this one; 0 with All
}

func (m *Hints) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "act", &m.Act)
		f.flag("all", &m.All)
		number(f, "group", &m.Group)
	})
}

// Append appends the body.
func (m *Hints) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Hints) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Act < HintsList || m.Act > HintsPurge:
		return fmt.Errorf("field act: %d; want %d, %d or %d", m.Act, HintsList, HintsRetry, HintsPurge)
	case m.All && m.Group != 0:
		return fmt.Errorf("field group: %d; want 0 with all", m.Group)
	case !m.All && (m.Group == 0 || m.Group > raft.GroupMax):
		return fmt.Errorf("field group: %d; want 1 to %d, or all", m.Group, raft.GroupMax)
	}
	return nil
}

func eachOfHints(body []byte, yield func(access.Need) bool) error {
	var q Hints
	if err := q.Read(body); err != nil {
		return err
	}
	if q.Act != HintsList {
		return changing(nil, yield)
	}
	return looking(nil, yield)
}

// HintQueue is what waits at a node for a group.
type HintQueue struct {
	Group  raft.GroupID
	Hints  uint64
	Bytes  uint64 // on the disk
	Points uint64
	Oldest int64  // when the oldest one was taken, in Unix seconds
	Aside  uint64 // hints that are never taken, though the group takes others
	Fails  uint64 // tries in a row that came to nothing
	Why    string // of the last of these
}

// HintsAnswer answers a [Hints]:
//
//	[node, name, [[group, hints, bytes, points, oldest, aside, fails, why], …], hints, points, arrived, buried, purged, dir, letters, [what, …]]
//
// Hints and points are how many the act was about.
type HintsAnswer struct {
	Node          raft.NodeID
	Name          string
	Queues        []HintQueue // by group
	Hints, Points uint64
	// Since the node was started: hints that have come to their group, that went to the dead letters, and that were given up.
	Arrived, Buried, Purged uint64
	Dir                     string   // of the dead letters, on the node's host
	Letters                 uint64   // bytes of these
	Damages                 []string // what the last start has found damaged
}

func (m *HintsAnswer) fields(f *fields) {
	f.atLeast(11, func() {
		number(f, "node", &m.Node)
		f.text("name", &m.Name)
		list(f, "queues", &m.Queues, 9, func(f *fields, q *HintQueue) {
			f.exactly(8, func() {
				number(f, "group", &q.Group)
				number(f, "hints", &q.Hints)
				number(f, "bytes", &q.Bytes)
				number(f, "points", &q.Points)
				integer(f, "oldest", &q.Oldest)
				number(f, "aside", &q.Aside)
				number(f, "fails", &q.Fails)
				f.text("why", &q.Why)
			})
		})
		number(f, "hints", &m.Hints)
		number(f, "points", &m.Points)
		number(f, "arrived", &m.Arrived)
		number(f, "buried", &m.Buried)
		number(f, "purged", &m.Purged)
		f.text("dir", &m.Dir)
		number(f, "letters", &m.Letters)
		list(f, "damages", &m.Damages, 1, func(f *fields, what *string) { f.text("what", what) })
	})
}

// Append appends the body.
func (m *HintsAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *HintsAnswer) Read(body []byte) error { return readFields(body, m) }

// Durable asks the leader of a group how many of its voters have an entry on disk: [group, term, index, wait]. It is answered when all have, or when
// wait is over. Level all of writes goes by it. Since level 10.
type Durable struct {
	Group       raft.GroupID
	Term, Index uint64 // of an entry that is committed
	WaitMs      uint64 // milliseconds
}

func (m *Durable) fields(f *fields) {
	f.exactly(4, func() {
		number(f, "group", &m.Group)
		number(f, "term", &m.Term)
		number(f, "index", &m.Index)
		number(f, "wait", &m.WaitMs)
	})
}

// Append appends the body.
func (m *Durable) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Durable) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if m.Group == 0 || m.Group > raft.GroupMax {
		return fmt.Errorf("field group: %d; want 1 to %d", m.Group, raft.GroupMax)
	}
	return nil
}

// DurableAnswer answers a [Durable]: [stored, voters].
type DurableAnswer struct {
	Stored, Voters uint64
}

func (m *DurableAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		number(f, "stored", &m.Stored)
		number(f, "voters", &m.Voters)
	})
}

// Append appends the body.
func (m *DurableAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *DurableAnswer) Read(body []byte) error { return readFields(body, m) }
