package cmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node"
	"muster/raft"
	"muster/repl/errands"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	settingBackupEvery = "backup-every"
	settingBackupKeep  = "backup-keep"
)

func backupRunCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "run", Usage: "have a node take a backup now, into its directory of backups",
		Description: `A job takes it: of the same as "muster backup take", by the node that leads the meta group, into
the directory that "serve --backup-dir" names there. The file has its name once it is synced and
was read back. Afterwards the oldest go, as "muster backup schedule" says how many stay.

With -o json: ` + jobForm,
		Flags:  []cli.Flag{noWaitFlag()},
		Action: con.action(backupRun),
	})
}

func backupScheduleCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "schedule", Usage: "show or set when nodes take backups, and how many are kept",
		Description: `A backup is due so long after the last good one was begun, whoever leads. One that was missed is
taken once. One that failed is tried again after a quarter of that time, an hour at most.

Prints: {"every":"off"|"24h","keep":N,"last":…,"file":…,"node":…,"next":…}, with the times of the last
good backup and of the next one in RFC 3339, and without what there is not.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "every", DefaultText: "as it is", Usage: "take a backup `D` after the last good one: 1m to 720h, or off"},
			&cli.IntFlag{Name: "keep", DefaultText: "as it is", Usage: "keep the newest `N` whole backups on all nodes together: 1 to 1000"},
		},
		Action: con.action(backupSchedule),
	})
}

func backupListCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "list", Usage: "list the backups that the nodes have in their directories",
		Description: `Each node reads a file whole, once after its start: "whole" is one of which each byte is as it was
written, "damaged" one that is not, "torn" the rest of one that was never whole, "unread" one that
is still being read: list again. A directory that several nodes share is listed for each. DIR is
where it is on the node's own host. If a node does not answer, standard error names it and the
status is 8.

With -o json one object for each: {"name":…,"node":…,"dir":…,"state":…,"made":…,"bytes":N,
"groups":N,"keys":N,"services":N,"wrong":…}; dir is an absolute path, wrong is there for a damaged one alone.`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "verify", Usage: "have each node read all of its files again, now"}},
		Action: con.action(backupList),
	})
}

func backupPruneCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "prune", Usage: "remove backups from the nodes' directories, but the newest whole ones",
		Description: `The nodes read their files first. Only whole ones count, so a damaged one replaces none, and the last
whole one stays. Rests of backups that were never whole go once they are an hour old. The plan names each file and its node, and wants --yes.

With -o json one object for each file that was removed, as of "muster backup list".`,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "keep", DefaultText: "that of the schedule", Usage: "keep the newest `N` whole backups on all nodes together: 1 to 1000"},
			yesFlag(),
		},
		Action: con.action(backupPrune),
	})
}

func backupRun(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	s, t, err := con.orderlyTable(c)
	if err != nil {
		return err
	}
	defer s.close()
	command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobBackup})
	if err != nil {
		return err
	}
	a, err := s.give(c.Context, &order{what: "take a backup", command: command, after: t.Index,
		made: func(j *shardmap.Job) bool { return j.Kind == shardmap.JobBackup && !j.Errand.Scheduled }}, 0)
	if err != nil {
		return err
	}
	return s.finish(s.attend(c.Context, a))
}

// scheduleRow is what backup schedule prints.
type scheduleRow struct {
	Every string `json:"every"`
	Keep  int    `json:"keep"`
	Last  string `json:"last,omitempty"` // RFC 3339
	File  string `json:"file,omitempty"`
	Node  string `json:"node,omitempty"`
	Next  string `json:"next,omitempty"` // RFC 3339
}

// wantKeep refuses a --keep that no cluster takes: before anything is asked, so that a command which sets more does
// nothing then.
func wantKeep(c *cli.Context) error {
	if n := c.Int("keep"); c.IsSet("keep") && (n < 1 || n > shardmap.BackupKeepMax) {
		return usagef("%s: --keep %d; want 1 to %d", c.Command.HelpName, n, shardmap.BackupKeepMax)
	}
	return nil
}

func backupSchedule(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	if err := wantKeep(c); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	index := uint64(0)
	for _, set := range []struct{ option, name, value string }{{"every", settingBackupEvery, c.String("every")}, {"keep", settingBackupKeep, number(c.Int("keep"))}} {
		if !c.IsSet(set.option) {
			continue
		}
		value := set.value
		if value == "" {
			return usagef("%s: --%s is empty; want a value that muster setting list shows for %s", c.Command.HelpName, set.option, set.name)
		}
		command, err := shardmap.AppendSetting(nil, &shardmap.Setting{Name: set.name, Value: value})
		if err != nil {
			return err
		}
		a, err := s.give(c.Context, &order{what: "set " + set.name + " to " + value, command: command}, 0)
		if err != nil {
			return err
		}
		index = max(index, a.Index)
	}
	var row scheduleRow
	err = s.until(c.Context, func(t *shardmap.Table) glance {
		if t.Index < index {
			return glance{}
		}
		row = scheduleOf(t, time.Now())
		return glance{over: true}
	}, waitAsLongAsACall)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(row)
	}
	t := newTable(s.out, "EVERY", "KEEP", "LAST", "FILE", "NODE", "NEXT")
	t.row(row.Every, number(row.Keep), orDash(row.Last), orDash(row.File), orDash(row.Node), orDash(row.Next))
	return t.Flush()
}

// scheduleOf is the schedule by a table.
func scheduleOf(t *shardmap.Table, now time.Time) scheduleRow {
	row := scheduleRow{Keep: t.BackupKeep()}
	row.Every, _ = t.Setting(settingBackupEvery)
	good, _ := t.LastBackup()
	if good.ID != 0 {
		row.Last, row.File = inRFC3339(good.Errand.At), good.Errand.File
		row.Node = good.Errand.Node.String()
		if n, ok := t.Node(good.Errand.Node); ok && n.Name != "" {
			row.Node = n.Name
		}
	}
	if at, wanted := errands.NextBackup(t, now.Unix(), 0); wanted {
		row.Next = inRFC3339(at)
	}
	return row
}

func inRFC3339(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// keptBackup is a backup in the directory of a node, as it is printed.
type keptBackup struct {
	Name     string `json:"name"`
	Node     string `json:"node"`
	Dir      string `json:"dir"`
	State    string `json:"state"`
	Made     string `json:"made,omitempty"` // RFC 3339
	Bytes    uint64 `json:"bytes"`
	Groups   uint64 `json:"groups"`
	Keys     uint64 `json:"keys"`
	Services uint64 `json:"services"`
	Wrong    string `json:"wrong,omitempty"`
}

var backupStateNames = map[wire.BackupState]string{wire.BackupUnread: "unread", wire.BackupWhole: "whole", wire.BackupDamaged: "damaged", wire.BackupTorn: "torn"}

// keptBackups are the backups of all servers.
type keptBackups struct {
	*errand
	servers []shardmap.TableNode
	answers map[raft.NodeID]*wire.BackupsAnswer
	failed  int // servers that have not answered
}

// askBackups asks all servers of a table the same about their backups, until each has read its files, or for as long as
// a call may take.
func askBackups(ctx context.Context, s *errand, t *shardmap.Table, q wire.Backups) (*keptBackups, error) {
	k := &keptBackups{errand: s, answers: map[raft.NodeID]*wire.BackupsAnswer{}}
	for i := range t.Nodes {
		if n := t.Nodes[i]; n.Role == shardmap.NodeServer {
			k.servers = append(k.servers, n)
		}
	}
	var last error
	for i := range k.servers {
		n := &k.servers[i]
		if err := k.ask(ctx, n, q); err != nil {
			if isDenied(err) {
				return nil, err
			}
			k.failed++
			s.sayf("%s is not listed: %s", n.Name, oneLine(err))
			last = err
		}
	}
	if k.failed == len(k.servers) && last != nil {
		return nil, last
	}
	return k, nil
}

// ask asks a server for its files until it has read them.
func (k *keptBackups) ask(ctx context.Context, n *shardmap.TableNode, q wire.Backups) error {
	a, err := k.look(ctx, n, q)
	if err == nil {
		k.answers[n.ID] = a
	}
	return err
}

// look asks a server until it has read what it was asked for.
func (k *keptBackups) look(ctx context.Context, n *shardmap.TableNode, q wire.Backups) (a *wire.BackupsAnswer, err error) {
	ends := time.Now().Add(k.timeout)
	for {
		err = k.with(ctx, func(ctx context.Context) (err error) {
			a, err = k.client.Backups(ctx, n.Addr, q)
			return err
		})
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(a.Files, func(f wire.BackupFile) bool { return f.State == wire.BackupUnread }) || time.Now().After(ends) {
			return a, nil
		}
		q = wire.Backups{Only: q.Only} // the node reads on by itself
	}
}

// again has a file read anew.
func (k *keptBackups) again(ctx context.Context, f errands.File) errands.FileState {
	i := slices.IndexFunc(k.servers, func(n shardmap.TableNode) bool { return n.ID == f.Node })
	n := &k.servers[i]
	a, err := k.look(ctx, n, wire.Backups{Verify: true, Only: []string{f.Name}})
	if err != nil {
		k.sayf("%s on %s counts for none: %s", f.Name, n.Name, oneLine(err))
		return errands.FileUnknown
	}
	state := node.StateOf(a, f.Name)
	switch state {
	case errands.FileUnknown:
		k.sayf("%s on %s counts for none: it is still being read; try again later", f.Name, n.Name)
	case errands.FileDamaged:
		k.sayf("%s on %s counts for none: %s", f.Name, n.Name, a.Files[0].Wrong)
	}
	return state
}

// rows are the files that are wanted, by node, and of each as it has told of them: the newest first.
func (k *keptBackups) rows(wanted func(node raft.NodeID, name string) bool) (rows []keptBackup) {
	for i := range k.servers {
		n := &k.servers[i]
		a := k.answers[n.ID]
		if a == nil {
			continue
		}
		for _, f := range a.Files {
			if !wanted(n.ID, f.Name) {
				continue
			}
			row := keptBackup{Name: f.Name, Node: n.Name, Dir: a.Dir, State: cmp.Or(backupStateNames[f.State], fmt.Sprint("state ", uint8(f.State))), Bytes: f.Bytes, Groups: f.Groups, Keys: f.Keys, Services: f.Services, Wrong: f.Wrong}
			if f.Made > 0 {
				row.Made = inRFC3339(int64(f.Made))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func (k *keptBackups) print(rows []keptBackup) error {
	if k.json {
		for _, r := range rows {
			if err := k.printJSON(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rows) == 0 {
		return nil
	}
	t := newTable(k.out, "NAME", "NODE", "DIR", "STATE", "BYTES", "GROUPS", "KEYS", "SERVICES", "WRONG")
	for _, r := range rows {
		t.row(r.Name, r.Node, r.Dir, r.State, number(r.Bytes), number(r.Groups), number(r.Keys), number(r.Services), orDash(r.Wrong))
	}
	return t.Flush()
}

// end is the status of a command that asked all servers.
func (k *keptBackups) end() error {
	if k.failed > 0 {
		return errQuiet(exitPartly)
	}
	return nil
}

func backupList(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	k, err := askBackups(c.Context, s, t, wire.Backups{Verify: c.Bool("verify")})
	if err != nil {
		return err
	}
	rows := k.rows(func(raft.NodeID, string) bool { return true })
	if len(rows) == 0 && !s.json {
		s.sayf("no node that answered has a backup: muster backup run takes one now, muster backup schedule --every 24h one each day")
	}
	if err := k.print(rows); err != nil {
		return err
	}
	return k.end()
}

func backupPrune(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	if err := wantKeep(c); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	keep := t.BackupKeep()
	if c.IsSet("keep") {
		keep = c.Int("keep")
	}
	k, err := askBackups(c.Context, s, t, wire.Backups{})
	if err != nil {
		return err
	}
	var files []errands.File
	for _, a := range k.answers {
		files = append(files, node.FilesOf(a)...)
	}
	gone := map[raft.NodeID][]string{}
	for _, f := range errands.Prunable(files, keep, time.Now().Unix(), func(f errands.File) errands.FileState { return k.again(c.Context, f) }) {
		gone[f.Node] = append(gone[f.Node], f.Name)
	}
	rows := k.rows(func(at raft.NodeID, name string) bool { return slices.Contains(gone[at], name) })
	if len(rows) == 0 {
		s.sayf("nothing to remove: no more than %s", counted(keep, "whole backup"))
		return k.end()
	}
	p := proposal{lines: []string{fmt.Sprintf("plan to remove %s, and keep the newest %s:", counted(len(rows), "file"), counted(keep, "whole backup"))}}
	for _, r := range rows {
		p.lines = append(p.lines, fmt.Sprintf("  %s on %s, %s, %s", r.Name, r.Node, r.State, showBytes(r.Bytes)))
		p.binds = append(p.binds, []byte(r.Node), []byte(r.Name))
	}
	s.propose(&p)
	if consentOf(c) != consentGiven && !s.agrees(c.Context) {
		return notConfirmed()
	}
	for i := range k.servers {
		n := &k.servers[i]
		for some := range slices.Chunk(gone[n.ID], wire.BackupFilesMax) {
			if err := k.ask(c.Context, n, wire.Backups{Remove: some}); err != nil {
				return fmt.Errorf("remove files on %s: %w", n.Name, err)
			}
		}
	}
	if err := k.print(rows); err != nil {
		return err
	}
	return k.end()
}
