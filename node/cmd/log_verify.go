package cmd

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/logstore"
	"muster/raft"
)

func logVerifyCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "verify", Usage: "check the contents of a data directory", ArgsUsage: "DIR",
		Description: `Reads every byte of the data directory DIR that its node would need, and changes
nothing. Stop the node first: the end of a log that is in use may look torn, and
a file that is reused meanwhile may look damaged.

For each damage it reports where it is, what is lost, and what can be done. It ends
with status 1 if something that the node needs is lost. Damage of what is no longer
needed, or exists a second time, ends with 0 and "ok":true: the node lacks
nothing, but check its disk. A last batch that was never finished is no damage:
nobody was told that it was kept.

A block file of points is needed if the newest snapshot of its group lists it: it is
reported if it is damaged, and also if it is missing. Of each snapshot the whole
state is read into memory, one after another.

A directory of an earlier moment may be whole. What the node itself can tell of that
is reported as a doubt, also with status 1: a copy of a directory always has one,
until it is back in its place.

A replica whose state was found to be wrong is fenced: that is reported too, with
status 1 until the state was rebuilt.

With -o json: {"ok":false,"dir":…,"segments":N,"bytes":N,"batches":N,"records":N,"entries":N,
"snapshots":N,
"snapshot_bytes":N,"block_files":N,"block_file_bytes":N,"torn":false,"doubt":…,"replicas":[{"group":N,"incarnation":N,"replica":"…","base":"g1/2.17","last":"g1/2.99",
"commit":N,"lost":[{"first":N,"last":N}]}],"damages":[{"file":…,"offset":N,"record":…,"reason":…,
"lost":…,"remedy":…}],"fences":[{"group":N,"incarnation":N,"replica":"…","at":"g1/2.17","found":…,
"rebuilt":false,"what":…,"parts":[N]}],"kept_aside":[…]}`,
		Action: con.action(logVerify),
	})
}

// verifyRow is what came of checking a data directory.
type verifyRow struct {
	OK       bool   `json:"ok"` // Invariant: all that the damages cost is not needed, there is no doubt, and no replica lacks a right state
	Dir      string `json:"dir"`
	Segments int    `json:"segments"`
	Bytes    int64  `json:"bytes"` // of the segments
	Batches  uint64 `json:"batches"`
	Records  uint64 `json:"records"`
	Entries  uint64 `json:"entries"`

	Snapshots     int   `json:"snapshots"`
	SnapshotBytes int64 `json:"snapshot_bytes"`

	BlockFiles     int   `json:"block_files"` // of points
	BlockFileBytes int64 `json:"block_file_bytes"`

	Torn     bool            `json:"torn"`
	Doubt    string          `json:"doubt,omitempty"` // why it may be of an earlier moment
	Replicas []verifyReplica `json:"replicas"`
	Damages  []verifyDamage  `json:"damages"`
	Fences   []fenceRow      `json:"fences,omitempty"`     // of replicas whose state was found to be wrong
	Aside    []string        `json:"kept_aside,omitempty"` // files with wrong states, oldest first, then damaged block files

	intact []logstore.Snapshot
	states states // the block files that they name
}

type verifyReplica struct {
	Group       int       `json:"group"`
	Incarnation uint64    `json:"incarnation"`
	Replica     string    `json:"replica"`
	Base        string    `json:"base"`
	Last        string    `json:"last"`
	Commit      uint64    `json:"commit"`
	Lost        []spanRow `json:"lost,omitempty"`
}

type verifyDamage struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Record string `json:"record"`
	Reason string `json:"reason"`
	Lost   string `json:"lost"`
	Remedy string `json:"remedy"`

	begin   int64 // of its batch
	refused bool  // by the disk: it may be well
}

// What can be done about damage.
const (
	remedySnapshot = "start the node: another replica sends one; muster status says if none of them can"
	remedyLog      = "keep the directory as it is and start the node: it asks the other replicas for what it lost, and muster status reports what none of them has"
	remedyPromises = "before the node is started, put the file back from a copy made since it last stopped: then nothing is lost; without such a copy keep the directory as it is: once the node is started this replica never votes again, and the group continues only while a majority of its voters is whole without it"
	remedyAlone    = "nobody else has a replica of that group, and the node does not start without it: put the file back from a copy made since the node last stopped"
	remedyAll      = "the node does not start: put the log back from a copy made since the node last stopped; if there is none, " + logstore.EmptyRemedy
	remedyRefused  = "check the disk and its cable, and verify again: nothing is known to be wrong with what stands there"
	remedyNone     = "none is needed, the node lacks nothing; but look at its disk"

	lostNothing = "nothing that is needed"
	lostUnknown = "not known: whatever stands in the segment"
)

func logVerify(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	dir := c.Args().First()
	if err := checkDataDir(dir); err != nil {
		return err
	}
	row, err := verifyDir(dir)
	if err != nil {
		return err
	}
	if asJSON {
		err = con.printJSON(row)
	} else {
		err = printVerify(con, row)
	}
	if err == nil && !row.OK {
		return errQuiet(exitRefused)
	}
	return err
}

func verifyDir(dir string) (*verifyRow, error) {
	v := &verifyRow{Dir: dir, Replicas: []verifyReplica{}, Damages: []verifyDamage{}}
	doubt, err := doubtOf(dir)
	if err != nil {
		v.damage(&logstore.Damage{File: identityFile(dir), Record: "identity", Reason: err.Error(), Refused: errors.Is(err, logstore.ErrRefused)}, "who the node is", logstore.IdentityRemedy)
	}
	v.Doubt = doubt
	err = logstore.Walk(localDisk, dir, v.count)
	if errors.Is(err, logstore.ErrNoLog) && len(v.Damages) > 0 {
		return v, nil
	}
	if err != nil {
		return nil, noLog(dir, err)
	}
	if err := v.snapshots(dir); err != nil {
		return nil, err
	}
	if err := v.opening(dir); err != nil {
		return nil, err
	}
	if err := v.replicas(dir); err != nil {
		return nil, err
	}
	if err := v.blockFiles(dir); err != nil {
		return nil, err
	}
	v.OK = v.Doubt == "" && !v.fenced()
	for i := range v.Damages {
		d := &v.Damages[i]
		if d.Lost == "" && d.refused && d.Record == logstore.WalkedSegment {
			// After a kill nothing tells how far the log was: without its last
			// segment it looks as whole as one that ended before, and no replica
			// misses anything.
			d.Lost = lostUnknown
		}
		if d.Lost == "" {
			d.Lost, d.Remedy = lostNothing, remedyNone
		} else {
			v.OK = false
		}
		if d.refused {
			d.Remedy = remedyRefused
		}
	}
	return v, nil
}

// doubtOf returns why a directory may be of an earlier moment than the newest of
// its node, as far as it can be told there.
func doubtOf(dir string) (string, error) {
	// Of a node that runs, the witness may be made anew between two looks.
	const looks = 3
	why := ""
	for range looks {
		id, ok, err := logstore.ReadIdentity(localDisk, dir)
		if err != nil || !ok {
			return "", err
		}
		if !id.Doubt.None() {
			return id.Doubt.Why, nil
		}
		if why, err = logstore.CheckWitness(localDisk, dir, &id); err != nil || why == "" {
			return "", err
		}
	}
	return why, nil
}

func (v *verifyRow) damage(d *logstore.Damage, lost, remedy string) {
	v.Damages = append(v.Damages, verifyDamage{File: d.File, Offset: d.Offset, Record: d.Record, Reason: d.Reason, Lost: lost, Remedy: remedy, refused: d.Refused})
}

// count takes one thing of the log.
func (v *verifyRow) count(w *logstore.Walked) error {
	v.Batches = max(v.Batches, w.Batch)
	switch {
	case w.Kind == logstore.WalkedTorn:
		v.Torn = true
	case w.Damage != nil && !w.Freed:
		v.damage(w.Damage, "", remedyLog)
		v.Damages[len(v.Damages)-1].begin = w.Begin
	case w.Damage != nil, w.Kind == logstore.WalkedBatch:
	case w.Kind == logstore.WalkedSegment:
		v.Segments++
		v.Bytes += w.Bytes
	default:
		v.Records++
		v.Entries += uint64(len(w.Entries))
	}
	return nil
}

// opening reads the log as the node would on its start. What it meets the walk
// has met, as a rule; if not, it counts too.
func (v *verifyRow) opening(dir string) error {
	r, err := logstore.Verify(localDisk, dir)
	if err != nil {
		return err
	}
	v.Torn = v.Torn || r.Torn != nil
	for i := range r.Damages {
		d := &r.Damages[i]
		if !slices.ContainsFunc(v.Damages, func(o verifyDamage) bool {
			return o.File == d.File && (o.Offset == d.Offset || o.begin == d.Offset || path.Base(path.Dir(d.File)) == logstore.SnapshotDir)
		}) {
			v.damage(d, "", remedyLog)
		}
	}
	return nil
}

// replicas opens the log as the node would, and says what of it counts.
func (v *verifyRow) replicas(dir string) error {
	s, err := logstore.OpenToRead(localDisk, dir)
	var d *logstore.Damage
	if errors.As(err, &d) {
		v.openDamage(d)
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	for _, id := range s.Replicas() {
		base, last, commit, _ := s.Bounds(id)
		row := verifyReplica{Group: int(id.Group), Incarnation: uint64(id.Incarnation), Replica: fmt.Sprint(uint64(id.ID)),
			Base: raft.FormatLogID(id.Group, base), Last: raft.FormatLogID(id.Group, last), Commit: commit}
		if lost, ok := s.DamageOf(id); ok {
			for _, span := range lost.Lost {
				row.Lost = append(row.Lost, spanRow{span.First, span.Last})
			}
		}
		v.Replicas = append(v.Replicas, row)
	}
	v.serving(s)
	v.named(s, dir)
	if err := v.fences(s, dir); err != nil {
		return err
	}
	all := false // the first: it can't be known of whom something was
	for _, lost := range s.Damaged() {
		if !all || len(lost.Lost) > 0 || lost.State {
			v.replicaDamage(&lost, remedyOf(s, &lost))
		}
		all = all || lost.Replica == logstore.Replica{}
	}
	return nil
}

// snapshots reads all of every snapshot.
func (v *verifyRow) snapshots(dir string) error {
	files, err := logstore.SnapshotFiles(localDisk, dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		var d *logstore.Damage
		err := logstore.VerifySnapshot(localDisk, file)
		if errors.Is(err, logstore.ErrRefused) && !errors.As(err, &d) {
			d = &logstore.Damage{File: file, Record: "snapshot", Reason: err.Error(), Refused: true}
		}
		if d != nil || errors.As(err, &d) {
			v.damage(d, "", remedySnapshot)
			continue
		}
		if err != nil {
			return err
		}
		v.Snapshots++
		if sn, err := logstore.StatSnapshot(localDisk, file); err == nil {
			v.SnapshotBytes += sn.Size
			v.intact = append(v.intact, sn)
		}
	}
	return nil
}

// serving says of which damaged snapshots a replica would have need: its log
// begins behind that one, and there is no other.
func (v *verifyRow) serving(s *logstore.Store) {
	for i := range v.Damages {
		d := &v.Damages[i]
		id, at, ok := logstore.SnapshotOf(d.File)
		if !ok {
			continue
		}
		base, last, _, known := s.Bounds(id)
		serves := func(at raft.LogID) bool { return at.Index >= base.Index && at.Index <= last.Index }
		if !known || base.Index == 0 || !serves(at) ||
			slices.ContainsFunc(v.intact, func(sn logstore.Snapshot) bool { return sn.Replica == id && serves(sn.Base.ID) }) {
			continue
		}
		lost := logstore.Damaged{Replica: id, State: true}
		d.Lost, d.Remedy = lostText(&lost), remedyOf(s, &lost)
	}
}

// remedyOf says what can be done about what a replica lost.
func remedyOf(s *logstore.Store, lost *logstore.Damaged) string {
	o, known := s.Outline(lost.Replica)
	m := &o.Base.Membership
	switch {
	case known && len(m.Voters)+len(m.Outgoing)+len(m.Learners) == 1:
		return remedyAlone
	case lost.Promises:
		return remedyPromises
	case len(lost.Lost) == 0:
		return remedySnapshot
	}
	return remedyLog
}

// openDamage notes what keeps the node from using its log, unless the walk has
// met it already.
func (v *verifyRow) openDamage(d *logstore.Damage) {
	if len(v.Damages) == 0 {
		v.damage(d, "", "")
	}
	for i := range v.Damages {
		if d := &v.Damages[i]; d.Lost == "" {
			d.Lost, d.Remedy = "all of the log", remedyAll
		}
	}
}

// replicaDamage says what a replica lost, at the damage that it comes from.
func (v *verifyRow) replicaDamage(lost *logstore.Damaged, remedy string) {
	text := lostText(lost)
	for i := range v.Damages {
		if d := &v.Damages[i]; d.File == lost.Where.File && (d.Offset == lost.Where.Offset || d.begin == lost.Where.Offset || lost.State) {
			// One place on disk can be of many replicas.
			if d.Lost != "" && d.Lost != text {
				text, remedy = d.Lost+"; "+text, worse(d.Remedy, remedy)
			}
			d.Lost, d.Remedy = text, remedy
			return
		}
	}
	v.damage(&lost.Where, text, remedy)
}

// worse returns the remedy for what is harder to mend.
func worse(a, b string) string {
	for _, r := range []string{remedyAlone, remedyPromises, remedyLog} {
		if a == r || b == r {
			return r
		}
	}
	return b
}

// lostText says what a replica lost.
func lostText(d *logstore.Damaged) string {
	var parts []string
	for _, s := range d.Lost {
		parts = append(parts, "entries "+s.String())
	}
	if d.State {
		parts = append(parts, "its state")
	}
	if d.Promises {
		parts = append(parts, "what it promised, so that it can no longer take part")
	}
	whose := d.Replica.String()
	if d.Replica == (logstore.Replica{}) {
		whose = "any replica of the node"
	}
	return whose + ": " + strings.Join(parts, ", ")
}

// damaged reports whether something is lost that is needed.
func (v *verifyRow) damaged() bool {
	return slices.ContainsFunc(v.Damages, func(d verifyDamage) bool { return d.Lost != lostNothing })
}

func printVerify(con *console, v *verifyRow) error {
	con.line("%s: %d segments of %d bytes, %d batches, %d records, %d entries; %d snapshots of %d bytes; %d block files of %d bytes",
		v.Dir, v.Segments, v.Bytes, v.Batches, v.Records, v.Entries, v.Snapshots, v.SnapshotBytes, v.BlockFiles, v.BlockFileBytes)
	con.line("")
	table := newTable(con.out, "GROUP", "INCARNATION", "REPLICA", "BASE", "LAST", "COMMIT", "LOST")
	for _, r := range v.Replicas {
		lost := ""
		for _, s := range r.Lost {
			lost += fmt.Sprintf(" %d-%d", s.First, s.Last)
		}
		table.row(number(r.Group), number(r.Incarnation), r.Replica, r.Base, r.Last, number(r.Commit), orDash(lost))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	con.line("")
	if v.Torn {
		con.line("the last batch was not finished, or is being written: nobody was told that it was kept")
		con.line("")
	}
	for _, d := range v.Damages {
		con.line("damage: %s at offset %d: %s: %s", d.File, d.Offset, d.Record, d.Reason)
		con.line("  lost: %s", d.Lost)
		con.line("remedy: %s", d.Remedy)
		con.line("")
	}
	printFences(con, v)
	if v.Doubt != "" {
		con.line(" doubt: %s", v.Doubt)
		con.line("remedy: %s", logstore.DoubtRemedy)
		con.line("")
	}
	verdict := "no damage"
	switch {
	case v.Doubt != "" && !v.damaged():
		verdict = "no damage, but PERHAPS OLDER than the newest of its node"
	case v.fenced() && !v.damaged():
		verdict = "no damage, but a replica is FENCED: its state is wrong"
	case !v.OK:
		verdict = "DAMAGED"
	case len(v.Damages) > 0:
		verdict = "damaged where it costs nothing"
	}
	return con.line("%s", verdict)
}
