package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/logstore"
	"muster/raft"
)

func logShowCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "show", Usage: "print the contents of a data directory, or of a block file in one", ArgsUsage: "[DIR|FILE]",
		Description: `DIR is a node's data directory; by default the one that serve would use. It
may be in use: nothing is locked or changed, and the end of the log may look torn
because it is being written. Damage is shown in its place, followed by what comes
after it; "log verify" says what it means. Entries that have since been truncated
or removed are shown as long as they are there: a log says what happened, in order.

Prints which node it is, its witness, how it last stopped, its fences and the wrong states
that were kept aside, its snapshots, its block files of points, and a line for each record of the log.
With --group, --from, --to or --kind only such records, and damage.

FILE is a block file of points, wherever it is. Prints what it has, and a line for each block: some
points of one field of one series. All of it is read and checked; ends with status 1 if it is damaged.

With -o json one object per line: {"kind":…,"segment":N,"offset":N,"batch":N,"bytes":N,
"group":N,"incarnation":N,"replica":"…","commit":N,…}; the rest depends on the kind:
"term" and "vote"; "term", "first" and "last"; "base", "end" and "members"; "record" and
"reason" of damage; "lives", "stopped", "witness", "meta_replica", "recovery" and "doubt" of the identity;
"fence":{"group":N,"incarnation":N,"replica":"…","at":"g1/2.17","found":…,"rebuilt":false,"what":…,"parts":[N]};
"points":{"sum":"…","version":N,"blocks":N,"series":N,"values":N,"first_ns":N,"last_ns":N} of a block file,
{"of":…,"field":…,"type":…,"values":N,"first_ns":N,"last_ns":N} of a block in it, {"sum":"…"} of one that was put aside; "note":{"node":"…","life":N,"mark":"…","batch":N}. --entries adds "entries":[{"log_id":"g1/2.17","kind":…,"time_ns":N,
"bytes":N,"checksum":"…","command":…,"slot":N,"keys":[…],"key_count":N}].`,
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "group", DefaultText: "all", Usage: "only records of group `N`"},
			&cli.Uint64Flag{Name: "from", DefaultText: "the first", Usage: "only entries from index `N` on"},
			&cli.Uint64Flag{Name: "to", DefaultText: "the last", Usage: "only entries up to index `N`"},
			&cli.StringFlag{Name: "kind", Usage: "only records of one `KIND`, as they are printed: state, base, entries, …"},
			&cli.BoolFlag{Name: "entries", Usage: "also show each entry of a record, and what its command does"},
		},
		Action: con.action(logShow),
	})
}

// The files beside the log, as they are called.
const (
	kindIdentity = "identity"
	kindWitness  = "witness"
	kindStopped  = "stopped"
	kindFence    = "fence"
	kindAside    = "aside"
)

// logRow is one thing on a disk.
type logRow struct {
	Kind    string `json:"kind"`
	File    string `json:"file,omitempty"`
	Segment uint64 `json:"segment,omitempty"`
	Offset  *int64 `json:"offset,omitempty"`
	Batch   uint64 `json:"batch,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"`
	Freed   bool   `json:"freed,omitempty"` // its segment is not needed any more

	Group       *int    `json:"group,omitempty"`
	Incarnation uint64  `json:"incarnation,omitempty"`
	Replica     string  `json:"replica,omitempty"`
	Commit      *uint64 `json:"commit,omitempty"`

	Term    uint64      `json:"term,omitempty"`
	Vote    string      `json:"vote,omitempty"`
	First   uint64      `json:"first,omitempty"`
	Last    uint64      `json:"last,omitempty"`
	Base    string      `json:"base,omitempty"`
	End     uint64      `json:"end,omitempty"`
	TimeNs  uint64      `json:"time_ns,omitempty"`
	Members []memberRow `json:"members,omitempty"`
	Entries []entryRow  `json:"entries,omitempty"`

	Note   *noteRow   `json:"note,omitempty"`
	Fence  *fenceRow  `json:"fence,omitempty"`
	Points *pointsRow `json:"points,omitempty"`

	Record string `json:"record,omitempty"`
	Reason string `json:"reason,omitempty"`

	identityPart
	Stopped  uint64      `json:"stopped,omitempty"`
	Mark     string      `json:"mark,omitempty"` // of the life that stopped
	Rows     int         `json:"rows,omitempty"`
	Witness  *witnessRow `json:"witness,omitempty"`
	Reached  uint64      `json:"reached,omitempty"` // the batch up to which the witness says that the log was synced
	Files    []fileRow   `json:"files,omitempty"`   // which the identity knows that the log is written to
	Doubt    string      `json:"doubt,omitempty"`
	Recovery string      `json:"recovery,omitempty"` // the id of the plan, and how far it is
	// MetaReplica is the node's replica of group 0, if it was told one as it was taken in.
	MetaReplica *metaRow `json:"meta_replica,omitempty"`
}

// identityPart is what the identity alone says.
type identityPart struct {
	Stage     string        `json:"stage,omitempty"`
	Cluster   string        `json:"cluster,omitempty"`
	ClusterID string        `json:"cluster_id,omitempty"`
	Node      string        `json:"node,omitempty"`
	Start     uint64        `json:"start,omitempty"`
	Nodes     []identityRow `json:"nodes,omitempty"`
	Lives     []lifeRow     `json:"lives,omitempty"`
}

// metaRow is the replica of group 0 that the identity names.
type metaRow struct {
	Incarnation uint64 `json:"incarnation"`
	Replica     uint64 `json:"replica"`
}

// lifeRow is one start of the node.
type lifeRow struct {
	Life uint64 `json:"life"`
	Mark string `json:"mark"`
	Last uint64 `json:"last"` // batch in the log when it began
}

// witnessRow is the witness that the identity knows.
type witnessRow struct {
	Mark    string `json:"mark"`
	Inode   uint64 `json:"inode"`
	BirthNs int64  `json:"birth_ns,omitempty"`
}

// fileRow is which file a segment was when the identity noted it.
type fileRow struct {
	Segment uint64 `json:"segment"`
	Inode   uint64 `json:"inode"`
	BirthNs int64  `json:"birth_ns,omitempty"`
}

// noteRow is what the log knows of another node's life.
type noteRow struct {
	Node  string `json:"node"`
	Life  uint64 `json:"life"`
	Mark  string `json:"mark"`
	Batch uint64 `json:"batch"`
}

type identityRow struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
}

type memberRow struct {
	ID   string `json:"id"`
	Node string `json:"node"`
	Role string `json:"role"`
}

func memberRows(m *raft.Membership) []memberRow {
	rows := []memberRow{}
	for _, l := range []struct {
		role    string
		members []raft.Member
	}{{"voter", m.Voters}, {"outgoing", m.Outgoing}, {"learner", m.Learners}} {
		for _, r := range l.members {
			rows = append(rows, memberRow{fmt.Sprint(r.Replica), r.Node.String(), l.role})
		}
	}
	return rows
}

func membersText(rows []memberRow) string {
	var all []string
	for _, r := range rows {
		all = append(all, fmt.Sprintf("%s %s on %s", r.Role, r.ID, r.Node))
	}
	return strings.Join(all, ", ")
}

// logFilter says which records are wanted.
type logFilter struct {
	group    raft.GroupID
	one      bool // only that group
	from, to uint64
	ranged   bool // only entries from from to to
	kind     string
	entries  bool
}

func logFilterOf(c *cli.Context) (f logFilter, err error) {
	if f.group, f.one, err = groupOf(c); err != nil {
		return f, err
	}
	f.from, f.to = c.Uint64("from"), ^uint64(0)
	if c.IsSet("to") {
		f.to = c.Uint64("to")
	}
	if f.to < f.from {
		return f, usagef("%s: --from %d --to %d; want no more in --from than in --to", c.Command.HelpName, f.from, f.to)
	}
	f.ranged = c.IsSet("from") || c.IsSet("to")
	f.kind, f.entries = c.String("kind"), c.Bool("entries")
	if kinds := shownKinds(); c.IsSet("kind") && !slices.Contains(kinds, f.kind) {
		return f, usagef("%s: --kind %q; want one of %s", c.Command.HelpName, f.kind, strings.Join(kinds, ", "))
	}
	return f, nil
}

// all reports whether nothing is left out.
func (f *logFilter) all() bool { return !f.one && !f.ranged && f.kind == "" }

func (f *logFilter) wants(w *logstore.Walked) bool {
	if w.Damage != nil || f.all() {
		return true
	}
	if f.kind != "" && w.Kind != f.kind {
		return false
	}
	if w.Kind == logstore.WalkedSegment || w.Kind == logstore.WalkedBatch {
		return !f.one && !f.ranged
	}
	if f.one && (w.Replica.ID == 0 || w.Replica.Group != f.group) {
		return false
	}
	return !f.ranged || w.Last > 0 && w.First <= f.to && w.Last >= f.from
}

func logShow(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	f, err := logFilterOf(c)
	if err != nil {
		return err
	}
	dir := dataDefault()
	if c.NArg() == 1 {
		dir = c.Args().First()
	}
	show := func(r *logRow) error { return showLine(con, r) }
	if asJSON {
		show = func(r *logRow) error { return con.printJSON(r) }
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().IsRegular() {
		return showBlockFile(c, dir, show)
	}
	if err := checkDataDir(dir); err != nil {
		return err
	}
	rows, err := f.headRows(dir)
	if err != nil {
		return err
	}
	for i := range rows {
		if err := show(&rows[i]); err != nil {
			return err
		}
	}
	if !asJSON {
		showHead(con)
	}
	err = logstore.Walk(localDisk, dir, func(w *logstore.Walked) error {
		if !f.wants(w) {
			return nil
		}
		return show(f.row(w))
	})
	if len(rows) > 0 && errors.Is(err, logstore.ErrNoLog) {
		return nil // an identity alone: a node that has not founded yet
	}
	return noLog(dir, err)
}

// headRows are the files beside the log.
func (f *logFilter) headRows(dir string) ([]logRow, error) {
	var rows []logRow
	id, ok, err := logstore.ReadIdentity(localDisk, dir)
	switch {
	case errors.Is(err, logstore.ErrOlderFormat), errors.Is(err, logstore.ErrNewerFormat):
		// Nothing there is damaged, though little of it could be read.
		return nil, err
	case !f.all() && f.kind != kindIdentity:
	case err != nil:
		rows = append(rows, logRow{Kind: logstore.WalkedDamage, File: identityFile(dir), Record: kindIdentity, Reason: err.Error()})
	case ok:
		rows = append(rows, identityRowOf(dir, &id))
	}
	if f.all() || f.kind == kindWitness {
		w, reached, there, err := logstore.StatWitness(localDisk, dir, id.Node)
		if err != nil {
			return nil, err
		}
		if there {
			rows = append(rows, logRow{Kind: kindWitness, File: path.Join(dir, kindWitness), Witness: witnessRowOf(w),
				Reached: uint64(reached.Batch)})
		}
	}
	if f.all() || f.kind == kindStopped {
		stop, there, err := logstore.StatStop(localDisk, dir)
		if err != nil {
			return nil, err
		}
		if there {
			rows = append(rows, logRow{Kind: kindStopped, File: path.Join(dir, kindStopped), Stopped: uint64(stop.Batch),
				Mark: fmt.Sprintf("%016x", stop.Mark), Segment: stop.Tail, Rows: stop.Rows, Bytes: stop.Bytes})
		}
	}
	noted, err := f.fenceRows(dir)
	if err != nil {
		return nil, err
	}
	rows = append(rows, noted...)
	stored, err := f.pointsRows(dir)
	if err != nil {
		return nil, err
	}
	rows = append(rows, stored...)
	if !f.wantsFile("snapshot") {
		return rows, nil
	}
	files, err := logstore.SnapshotFiles(localDisk, dir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		sn, err := logstore.StatSnapshot(localDisk, file)
		switch {
		case errors.Is(err, fs.ErrNotExist): // of a node that runs: it has a newer one
		case err != nil:
			rows = append(rows, logRow{Kind: logstore.WalkedDamage, File: file, Record: "snapshot", Reason: err.Error()})
		case !f.one || sn.Replica.Group == f.group:
			rows = append(rows, snapshotRowOf(&sn))
		}
	}
	return rows, nil
}

func witnessRowOf(w logstore.Witness) *witnessRow {
	return &witnessRow{fmt.Sprintf("%016x", w.Mark), w.Inode, w.Birth}
}

func identityRowOf(dir string, id *logstore.Identity) logRow {
	r := logRow{Kind: "identity", File: identityFile(dir), identityPart: identityPart{Stage: id.Stage.String(), Cluster: id.Cluster,
		ClusterID: fmt.Sprintf("%016x", id.ClusterID), Node: id.Node.String(), Start: id.Life().Number}}
	for _, l := range id.Chain {
		r.Lives = append(r.Lives, lifeRow{l.Number, fmt.Sprintf("%016x", l.Mark), uint64(l.Last)})
	}
	r.Stopped, r.Doubt = uint64(id.Stopped), id.Doubt.Why
	if id.Recovery.Plan != 0 {
		r.Recovery = id.Recovery.String()
	}
	if m := id.Meta; m != (logstore.MetaReplica{}) {
		r.MetaReplica = &metaRow{uint64(m.Incarnation), uint64(m.ID)}
	}
	if w := id.NextWitness; w.Mark != 0 {
		r.Witness = witnessRowOf(w)
	}
	for _, f := range id.Segments {
		r.Files = append(r.Files, fileRow{f.Number, f.Inode, f.Birth})
	}
	for _, m := range id.Members {
		r.Nodes = append(r.Nodes, identityRow{m.Node.String(), m.Addr})
	}
	return r
}

// livesText says what the identity knows of the node's lives.
func livesText(r *logRow) string {
	text := ""
	if n := len(r.Lives); n > 0 {
		newest := r.Lives[n-1]
		lives := fmt.Sprintf("%d lives, the newest", n)
		if n == 1 {
			lives = "1 life, the newest"
		}
		text = fmt.Sprintf("; %s with mark %s began after batch %d", lives, newest.Mark, newest.Last)
	}
	if r.Stopped > 0 {
		text += fmt.Sprintf("; stopped after batch %d", r.Stopped)
	}
	if w := r.Witness; w != nil {
		text += fmt.Sprintf("; its witness is inode %d", w.Inode)
	}
	for _, f := range r.Files {
		text += fmt.Sprintf("; segment %d is inode %d", f.Segment, f.Inode)
	}
	if m := r.MetaReplica; m != nil {
		text += fmt.Sprintf("; taken in as replica %d of group 0, incarnation %d", m.Replica, m.Incarnation)
	}
	if r.Recovery != "" {
		text += "; recovery " + r.Recovery
	}
	if r.Doubt != "" {
		text += "; in doubt: " + printable([]byte(r.Doubt))
	}
	return text
}

func snapshotRowOf(sn *logstore.Snapshot) logRow {
	group := int(sn.Replica.Group)
	return logRow{Kind: "snapshot", File: sn.File, Bytes: sn.Size, Group: &group, Incarnation: uint64(sn.Replica.Incarnation),
		Replica: fmt.Sprint(uint64(sn.Replica.ID)), Base: raft.FormatLogID(sn.Replica.Group, sn.Base.ID), TimeNs: uint64(sn.Base.Time),
		Members: memberRows(&sn.Base.Membership)}
}

// row is what is shown of one thing in the log.
func (f *logFilter) row(w *logstore.Walked) *logRow {
	r := &logRow{Kind: w.Kind, File: w.File, Segment: w.Segment, Offset: &w.Offset, Batch: w.Batch, Bytes: w.Bytes, Freed: w.Freed}
	switch {
	case w.Damage != nil:
		r.Record, r.Reason = w.Damage.Record, w.Damage.Reason
		return r
	case w.Kind == logstore.WalkedSegment:
		return r
	}
	r.File = "" // that of its segment
	if n := w.Note; n != nil {
		r.Note = &noteRow{n.Node.String(), n.Life.Number, fmt.Sprintf("%016x", n.Life.Mark), uint64(n.Batch)}
	}
	if w.Kind == logstore.WalkedBatch || w.Replica.ID == 0 {
		return r // of the log, not of a replica
	}
	group := int(w.Replica.Group)
	r.Group, r.Incarnation, r.Replica, r.Commit = &group, uint64(w.Replica.Incarnation), fmt.Sprint(uint64(w.Replica.ID)), &w.Commit
	switch {
	case w.Base != nil:
		r.Base, r.End, r.TimeNs = raft.FormatLogID(w.Replica.Group, w.Base.ID), w.End, uint64(w.Base.Time)
		r.Members = memberRows(&w.Base.Membership)
	case w.Last > 0:
		r.First, r.Last, r.Term = w.First, w.Last, w.Term
		if f.entries {
			r.Entries = f.entryRows(w)
		}
	case w.Kind == "state":
		r.Term, r.Vote = w.State.Term, fmt.Sprint(uint64(w.State.Vote))
	}
	return r
}

const showForm = "%-8s %-10s %-8s %-9s %-14s %-6s %-4s %-8s %-9s %s"

func showHead(con *console) {
	con.line(showForm, "SEGMENT", "OFFSET", "BATCH", "BYTES", "KIND", "GROUP", "INC", "REPLICA", "COMMIT", "WHAT")
}

// showLine prints a row for people. Its columns have fixed widths: nothing is
// kept, however long the log is.
func showLine(con *console, r *logRow) error {
	what := ""
	switch {
	case r.Reason != "":
		what = fmt.Sprintf("%s: %s: %s", r.File, r.Record, r.Reason)
	case r.Kind == kindIdentity:
		var nodes []string
		for _, n := range r.Nodes {
			nodes = append(nodes, n.ID+" at "+n.Addr)
		}
		return con.line("identity: node %s of cluster %s (%s), a %s, start %d; knew %s%s",
			r.Node, printable([]byte(r.Cluster)), r.ClusterID, r.Stage, r.Start, orDash(strings.Join(nodes, ", ")), livesText(r))
	case r.Kind == kindWitness:
		return con.line("witness: mark %s, inode %d; the log had batch %d", r.Witness.Mark, r.Witness.Inode, r.Reached)
	case r.Kind == kindStopped:
		return con.line("stopped: life with mark %s after batch %d; the log began in segment %d; %d rows", r.Mark, r.Stopped, r.Segment, r.Rows)
	case r.Kind == kindFence:
		return con.line("fence: %s", r.Fence.text())
	case r.Kind == kindAside:
		return con.line("kept aside: a wrong state of group %d incarnation %d replica %s at %s, %d bytes in %s", *r.Group, r.Incarnation, r.Replica, r.Base, r.Bytes, r.File)
	case r.Kind == kindDamagedFile:
		return con.line("put aside: a damaged block file of group %d incarnation %d in %s", *r.Group, r.Incarnation, r.File)
	case r.Points != nil:
		return con.line("%s", r.pointsText())
	case r.Kind == "snapshot":
		return con.line("snapshot: group %d incarnation %d replica %s at %s, %d bytes in %s; %s",
			*r.Group, r.Incarnation, r.Replica, r.Base, r.Bytes, r.File, membersText(r.Members))
	case r.Kind == logstore.WalkedSegment:
		what = r.File
	case r.Base != "":
		what = fmt.Sprintf("begins after %s, ended at %d; %s", r.Base, r.End, membersText(r.Members))
	case r.Last > 0:
		what = fmt.Sprintf("%d to %d of term %d", r.First, r.Last, r.Term)
	case r.Note != nil:
		what = fmt.Sprintf("node %s in life %d (mark %s) was at batch %d", r.Note.Node, r.Note.Life, r.Note.Mark, r.Note.Batch)
	case r.Vote != "":
		what = fmt.Sprintf("term %d vote %s", r.Term, r.Vote)
	}
	if r.Freed {
		what += " (no longer needed)"
	}
	group, commit, inc, offset := "", "", "", ""
	if r.Group != nil {
		group, inc, commit = fmt.Sprint("g", *r.Group), fmt.Sprint(r.Incarnation), fmt.Sprint(*r.Commit)
	}
	if r.Offset != nil {
		offset = fmt.Sprint(*r.Offset)
	}
	line := fmt.Sprintf(showForm, blankZero(r.Segment), offset, blankZero(r.Batch), blankZero(uint64(r.Bytes)), r.Kind, group, inc, r.Replica, commit, what)
	if err := con.line("%s", strings.TrimRight(line, " ")); err != nil {
		return err
	}
	for i := range r.Entries {
		if err := con.line("    %s", r.Entries[i].text()); err != nil {
			return err
		}
	}
	return nil
}

func blankZero(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// shownKinds are the kinds of what log show prints.
func shownKinds() []string {
	return append(logstore.WalkedKinds(), kindIdentity, kindWitness, kindStopped, "snapshot", kindFence, kindAside, kindBlockFile, kindDamagedFile)
}
