package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"muster/logstore/vfs"
	"muster/raft"
)

// Stage is how far a node is on its way into a cluster.
type Stage uint8

const (
	// StageFounding: the node has an id and takes part in founding a cluster,
	// of which nothing is settled yet.
	StageFounding Stage = 1
	// StageFounded: the cluster is settled and the node is in it, for good.
	// Its log is not begun, so it has promised nothing yet.
	StageFounded Stage = 2
	// StageMember: the log is begun. One that is empty was lost, and with it
	// what the node promised.
	StageMember Stage = 3
	// StageStandby: the node has an id and belongs to no cluster. It waits to be invited
	// into one, or asks to be taken in.
	StageStandby Stage = 4
	// StageJoining: the node knows the cluster that is to take it in, and no other can any
	// more. It asks until it is told its replica of group 0; then it is founded.
	StageJoining Stage = 5
	// StageRemoved: the cluster has removed the node, and its id never comes back. It
	// does not start any more.
	StageRemoved Stage = 6
)

var stageNames = map[Stage]string{
	StageFounding: "founding", StageFounded: "founded", StageMember: "member",
	StageStandby: "standby", StageJoining: "joining", StageRemoved: "removed",
}

func (s Stage) String() string {
	if name, ok := stageNames[s]; ok {
		return name
	}
	return fmt.Sprintf("stage %d", uint8(s))
}

// parseStage returns the stage of a name.
func parseStage(name string) (Stage, error) {
	for s, n := range stageNames {
		if n == name {
			return s, nil
		}
	}
	return 0, errors.New("no such stage")
}

// Identity is who a node is. It outlives the process and is read before the
// log is opened.
type Identity struct {
	Stage     Stage
	Cluster   string // its name
	ClusterID uint64 // 0 while founding, and of a standby
	Node      raft.NodeID
	// Chain has the lives of this directory, at most [LivesMax], oldest first.
	Chain []Link
	// Stopped is the last batch at the last clean stop, 0 from the next start on: if
	// the log now ends before it, something is lost.
	Stopped Batch
	// Settled is the number of the newest life in which a doubt ended, 0: none did.
	// That life had heard the others, so nothing of a life before it is missing.
	Settled uint64
	// Doubt is why this life may be older than the node's newest, in one line of at
	// most [DoubtBytesMax]; empty: nothing suggests it. It outlives the life.
	Doubt Doubt
	// Witness is the one at home, zero if there was none yet, and NextWitness the
	// one that is to take its place, or has just taken it.
	Witness, NextWitness Witness
	// Segments are the files that the log was written to when the witness was made,
	// at most two, none after a clean stop.
	Segments []SegmentFile
	// Missed are the witnesses that were expected when the doubt arose: if one of them
	// is back, the doubt is lifted. None if the doubt did not come from the witness.
	Missed []Witness
	// Meta is the node's replica of group 0, as it was told when it was taken in, or as a
	// recovery made it; zero: it follows from the founding.
	Meta MetaReplica
	// Recovery is the plan by which the directory was made anew, or is being, after the
	// cluster had lost a majority for good; zero: there was none.
	Recovery Recovery
	// BlockFiles: the directory has, or had, block files of points, which states name by now. A build that does not know
	// them would take such a state for one without points.
	BlockFiles bool
	// Members are the founders or, of a node that was taken in or recovered, those of that
	// moment. The table tells who they are today.
	Members []IdentityMember
}

// Recovery says how far a plan to recover a cluster was carried out in a directory.
type Recovery struct {
	Plan uint64 // its id, never 0
	// Done: all of it. Until then some replicas are of before and some of after, so the
	// node must not run.
	Done bool
}

// The words for how far a recovery is.
const (
	recoveryBegun = "begun"
	recoveryDone  = "done"
)

func (r Recovery) String() string {
	stage := recoveryBegun
	if r.Done {
		stage = recoveryDone
	}
	return fmt.Sprintf("%016x %s", r.Plan, stage)
}

// MetaReplica is a node's replica of group 0.
type MetaReplica struct {
	Incarnation raft.Incarnation
	ID          raft.ReplicaID
}

// IdentityMember is a node that this one knew when the file was written.
type IdentityMember struct {
	Node raft.NodeID
	Addr string
}

// The identity is a text, so that a person can read it without muster. The
// last line has the CRC32C of all lines before it; one blank stands between
// two fields.
//
//	muster identity 5
//	stage member
//	cluster "shop"
//	cluster-id 00c0ffee00c0ffee
//	node 1122334455667788
//	life 6 4bf92f3577b34da6 3071	number, mark, last batch; oldest first
//	life 7 a3ce929d0e0e4736 4711
//	stopped 4805			the last batch at a clean stop; only after one
//	witness 6d61726b31000000 131 1700000000123456789	mark, inode, birth; if there was one
//	next-witness 6d61726b32000000 132 1700000000223456789	the one that takes its place
//	segment 12 140 1700000000213456789	number, inode, birth: written to since the last start; at most two
//	settled 6			the newest life in which a doubt ended; only if one did
//	doubt "..."			only if there is one; "older" in place of "doubt" if it is proven
//	missed 6d61726b30000000 130 1700000000023456789	a witness that was expected; at most two
//	meta-replica 1 9		incarnation and id in group 0, of a node that was taken in; only then
//	recovery 0123456789abcdef done	the plan by which it was recovered, or "begun"; only if there was one
//	block-files yes			the directory has, or had, block files of points; only then
//	member 1122334455667788 "127.0.0.1:4166"
//	checksum 89abcdef
const (
	// IdentityFormat is the newest format that is read and written.
	IdentityFormat = 5
	// identityFormatNoFiles has no line for block files, and belongs to a directory whose states name none. An identity that fits in it is
	// still written in it.
	identityFormatNoFiles = 4
	// IdentityFormatOldest is the oldest one, which has no line for a replica of group 0
	// or a recovery either, and three stages less. An identity that fits in it is still written in it.
	IdentityFormatOldest = 3

	identityFirst = "muster identity " // and the format
	blockFilesYes = "yes"
	identityName  = "identity"
	identityTemp  = "identity.tmp"
	// identityBytesMax bounds the file: the largest cluster's members fit.
	identityBytesMax = 1 << 20
	// missedMax: a witness and its successor.
	missedMax = 2
	// DoubtBytesMax bounds the text of a doubt.
	DoubtBytesMax = 1 << 10
)

// ErrIdentity is wrapped by the error about an identity file that can't be
// used.
var ErrIdentity = errors.New("bad identity file")

// format returns the format in which the identity is written: an older one as long as it
// has a place for everything. Then the older binary can take the newer one's place again
// during an upgrade. Once the cluster is at a level that it does not understand, the
// table's log or snapshot refuses it.
func (id Identity) format() uint32 {
	if id.BlockFiles {
		return IdentityFormat
	}
	older := id.Stage == StageFounding || id.Stage == StageFounded || id.Stage == StageMember
	if older && id.Meta == (MetaReplica{}) && id.Recovery == (Recovery{}) {
		return IdentityFormatOldest
	}
	return identityFormatNoFiles
}

// append appends the file of an identity, in a format.
func (id Identity) append(b []byte, format uint32) []byte {
	b = fmt.Appendf(b, "%s%d\n", identityFirst, format)
	b = fmt.Appendf(b, "stage %s\n", id.Stage)
	b = fmt.Appendf(b, "cluster %s\n", strconv.Quote(id.Cluster))
	b = fmt.Appendf(b, "cluster-id %016x\n", id.ClusterID)
	b = fmt.Appendf(b, "node %s\n", id.Node)
	for _, l := range id.Chain {
		b = fmt.Appendf(b, "life %d %016x %d\n", l.Number, l.Mark, l.Last)
	}
	if id.Stopped > 0 {
		b = fmt.Appendf(b, "stopped %d\n", id.Stopped)
	}
	if id.Witness.Mark != 0 {
		b = fmt.Appendf(b, "witness %s\n", id.Witness)
	}
	if id.NextWitness.Mark != 0 {
		b = fmt.Appendf(b, "next-witness %s\n", id.NextWitness)
	}
	for _, f := range id.Segments {
		b = fmt.Appendf(b, "segment %s\n", f)
	}
	if id.Settled > 0 {
		b = fmt.Appendf(b, "settled %d\n", id.Settled)
	}
	if !id.Doubt.None() {
		b = fmt.Appendf(b, "%s %s\n", id.Doubt.kind(), strconv.Quote(id.Doubt.Why))
	}
	for _, w := range id.Missed {
		b = fmt.Appendf(b, "missed %s\n", w)
	}
	if id.Meta != (MetaReplica{}) {
		b = fmt.Appendf(b, "meta-replica %d %d\n", id.Meta.Incarnation, id.Meta.ID)
	}
	if id.Recovery.Plan != 0 {
		b = fmt.Appendf(b, "recovery %s\n", id.Recovery)
	}
	if id.BlockFiles {
		b = fmt.Appendf(b, "block-files %s\n", blockFilesYes)
	}
	for _, m := range id.Members {
		b = fmt.Appendf(b, "member %s %s\n", m.Node, strconv.Quote(m.Addr))
	}
	return sealText(b)
}

// ReadIdentity reads the identity file of a data directory. It reports false if
// there is none, which is how a node learns that it is new. The content may not be
// durable yet, if the process before ended in the middle of a change: a caller that
// relies on it writes it again first, as each start of a node does.
func ReadIdentity(disk vfs.FS, dir string) (Identity, bool, error) {
	name := path.Join(dir, identityName)
	f, err := openFile(disk, name)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("read the identity of the node: %w", err)
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return Identity{}, false, fmt.Errorf("read the identity of the node: %w", err)
	}
	b := make([]byte, min(size, identityBytesMax+1))
	if _, err := ReadAt(f, b, 0); err != nil && err != io.EOF {
		return Identity{}, false, fmt.Errorf("read the identity of the node: %w", err)
	}
	id, err := parseIdentity(b, identityFormats)
	if errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrOlderFormat) {
		return Identity{}, false, fmt.Errorf("%s: %w", name, err)
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("%s: %w: %w: %s", name, ErrIdentity, err, IdentityRemedy)
	}
	return id, true, nil
}

// parseIdentity reads a file of one of the formats in read. It accepts only what append
// would write, byte for byte, for the same content in the same format.
func parseIdentity(b []byte, read formats) (Identity, error) {
	if len(b) > identityBytesMax {
		return Identity{}, fmt.Errorf("it has more than %d bytes", identityBytesMax)
	}
	lines, format, err := readText(b, identityFirst, read)
	if err != nil {
		return Identity{}, err
	}
	var id Identity
	for line := range strings.Lines(lines) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if err := id.set(key, value); err != nil {
			return Identity{}, fmt.Errorf("line %q: %w", strings.TrimSuffix(line, "\n"), err)
		}
	}
	if !bytes.Equal(id.append(nil, format), b) {
		return Identity{}, errors.New("its lines are not those of an identity")
	}
	return id, nil
}

func (id *Identity) set(key, value string) (err error) {
	var n uint64
	switch key {
	case "stage":
		id.Stage, err = parseStage(value)
	case "cluster":
		id.Cluster, err = strconv.Unquote(value)
	case "cluster-id":
		id.ClusterID, err = strconv.ParseUint(value, 16, 64)
	case "node":
		n, err = strconv.ParseUint(value, 16, 64)
		id.Node = raft.NodeID(n)
	case "life":
		var l Link
		l, err = parseLink(value)
		switch {
		case err != nil:
		case l.Mark == 0:
			err = errors.New("its mark is 0")
		case l.Number <= id.Life().Number:
			err = errors.New("its number is not above the one before")
		case len(id.Chain) == LivesMax:
			err = fmt.Errorf("there are more than %d", LivesMax)
		}
		id.Chain = append(id.Chain, l)
	case "stopped":
		n, err = strconv.ParseUint(value, 10, 64)
		id.Stopped = Batch(n)
	case "witness":
		id.Witness, err = parseWitness(value)
	case "next-witness":
		id.NextWitness, err = parseWitness(value)
	case "segment":
		var f SegmentFile
		f, err = parseSegmentFile(value)
		if id.Segments = append(id.Segments, f); len(id.Segments) > notedSegmentsMax {
			err = fmt.Errorf("there are more than %d", notedSegmentsMax)
		}
	case "missed":
		var w Witness
		w, err = parseWitness(value)
		if id.Missed = append(id.Missed, w); len(id.Missed) > missedMax {
			err = fmt.Errorf("there are more than %d", missedMax)
		}
	case "settled":
		id.Settled, err = strconv.ParseUint(value, 10, 64)
	case doubtSuspected, doubtProven:
		id.Doubt.Proven = key == doubtProven
		if id.Doubt.Why, err = strconv.Unquote(value); err == nil && len(id.Doubt.Why) > DoubtBytesMax {
			err = fmt.Errorf("it has more than %d bytes", DoubtBytesMax)
		}
	case "meta-replica":
		_, err = fmt.Sscanf(value, "%d %d", &id.Meta.Incarnation, &id.Meta.ID)
		if err == nil && (id.Meta.Incarnation == 0 || id.Meta.ID == 0) {
			err = errors.New("it is 0")
		}
	case "recovery":
		plan, stage, _ := strings.Cut(value, " ")
		if stage != recoveryBegun && stage != recoveryDone {
			return errors.New("no such stage")
		}
		id.Recovery.Done = stage == recoveryDone
		id.Recovery.Plan, err = strconv.ParseUint(plan, 16, 64)
	case "block-files":
		if id.BlockFiles = value == blockFilesYes; !id.BlockFiles {
			err = fmt.Errorf("want %q, or no such line", blockFilesYes)
		}
	case "member":
		node, addr, _ := strings.Cut(value, " ")
		var m IdentityMember
		n, err = strconv.ParseUint(node, 16, 64)
		m.Node = raft.NodeID(n)
		if err == nil {
			m.Addr, err = strconv.Unquote(addr)
		}
		id.Members = append(id.Members, m)
	default:
		return errors.New("no such field")
	}
	return err
}

// parseLink reads a life: there are many in a file, and each start reads all.
func parseLink(value string) (l Link, err error) {
	number, rest, _ := strings.Cut(value, " ")
	mark, last, _ := strings.Cut(rest, " ")
	if l.Number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return l, err
	}
	if l.Mark, err = strconv.ParseUint(mark, 16, 64); err != nil {
		return l, err
	}
	batch, err := strconv.ParseUint(last, 10, 64)
	l.Last = Batch(batch)
	return l, err
}

func parseWitness(value string) (w Witness, err error) {
	_, err = fmt.Sscanf(value, "%x %d %d", &w.Mark, &w.Inode, &w.Birth)
	return w, err
}

// WriteIdentity replaces the identity file of a data directory. After a crash
// there is the old one or the new one; once it returned nil, the new one.
func WriteIdentity(disk vfs.FS, dir string, id Identity) error {
	err := replaceIdentity(disk, dir, id)
	if errors.Is(err, ErrFull) {
		// The headroom was kept for this.
		if cutErr := cutHeadroom(disk, dir, leftByIdentity); cutErr != nil {
			return fmt.Errorf("write the identity of the node: %w", cutErr)
		}
		err = replaceIdentity(disk, dir, id)
	}
	return err
}

// replaceIdentity is WriteIdentity with the room that there is.
func replaceIdentity(disk vfs.FS, dir string, id Identity) error {
	b := id.append(nil, id.format())
	// Never write a file that could not be read again.
	if _, err := parseIdentity(b, identityFormats); err != nil {
		return fmt.Errorf("write the identity of the node: %w: %w", ErrIdentity, err)
	}
	err := replaceFile(disk, dir, identityTemp, identityName, b)
	if errors.Is(err, ErrFull) {
		return fmt.Errorf("write the identity of the node: %w: make room for %d bytes in %s and start again; nothing is lost", err, len(b), dir)
	}
	if err != nil {
		return fmt.Errorf("write the identity of the node: %w", err)
	}
	return nil
}

// replaceFile gives a file of a directory a new content, durably, by way of a
// temporary one.
func replaceFile(disk vfs.FS, dir, temp, name string, b []byte) error {
	// The bytes are synced before the rename, and the directory after it: a crash
	// leaves the old file or the new one, and never a name without its content.
	temp = path.Join(dir, temp)
	f, err := disk.Create(temp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil && !bug("rename before sync") {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := disk.Rename(temp, path.Join(dir, name)); err != nil {
		return err
	}
	if bug("no directory sync") {
		return nil
	}
	return disk.SyncDir(dir)
}
