package cmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/backup"
	"muster/shardmap"
)

func backupCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "backup", Usage: "write all keys and services into a file, have nodes do so, and look into files"},
		backupTakeCommand(con), backupShowCommand(con), backupRunCommand(con), backupScheduleCommand(con), backupListCommand(con), backupPruneCommand(con))
}

// backupTimeoutDefault lets a backup outlive the loss of a leader.
const backupTimeoutDefault = time.Minute

func backupTakeCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "take", Usage: "write all keys and services into a file; \"muster backup FILE\" for short", ArgsUsage: "FILE|-",
		Description: `Takes the groups one after the other. Of each the file has all keys and services as
they were at one entry of its log, whatever is written meanwhile; of several groups
it is not one moment. A group that loses its leader, or whose slots move, is taken
again, so that each slot is in the file once.

The file is written beside FILE, as FILE.partial, synced, read back and verified, and
then renamed. It has the values of all keys and the secrets of services in it, so
only its owner can read it. Users, roles, settings, sessions and leases are not in it.

"-" is standard output, unless that is a terminal. The backup is verified on its way there, and
then a line on standard error says what is in it: keep nothing of a command that ends otherwise.

Prints: {"file":…,"groups":N,"keys":N,"services":N,"bytes":N}, the last of names and values.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "replace FILE, once the new one is whole"},
			&cli.DurationFlag{Name: "timeout", Value: backupTimeoutDefault,
				Usage: "how long `D` the next piece may take, retries included, up to 5m [$MUSTER_TIMEOUT]"},
		},
		Action: con.action(backupTake),
	})
}

func backupShowCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "show", Usage: "verify a backup and say what is in it", ArgsUsage: "FILE|-",
		Description: `Reads all of FILE, or of standard input, and asks no cluster. A byte that is not as it was written, or one
that is missing, is an error that names the place.

With -o json: {"file":…,"cluster":…,"cluster_id":…,"made_at":…,"version":…,"sha256":…,"keys":N,
"services":N,"bytes":N,"groups":[{"id":N,"log_id":…,"slots":[{"from":N,"to":N}],"keys":N,…}]}`,
		Action: con.action(backupShow),
	})
}

// backupRow is what backup and restore print.
type backupRow struct {
	File     string `json:"file"`
	Groups   int    `json:"groups"`
	Keys     uint64 `json:"keys"`
	Services uint64 `json:"services"`
	Bytes    uint64 `json:"bytes"`
}

// printBackup prints what is in a backup.
func printBackup(s *errand, file string, m *backup.Manifest) error {
	r := backupRow{file, len(m.Groups), m.Keys(), m.Services(), m.Bytes()}
	if s.json {
		return s.printJSON(r)
	}
	t := newTable(s.out, "FILE", "GROUPS", "KEYS", "SERVICES", "BYTES")
	t.row(r.File, number(r.Groups), number(r.Keys), number(r.Services), number(r.Bytes))
	return t.Flush()
}

func backupTake(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	if c.Args().First() == toOutput {
		return backupStream(con, c)
	}
	f, err := newBackupFile(c)
	if err != nil {
		return err
	}
	defer f.drop()
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	m, err := f.take(c.Context, s)
	if err != nil {
		return err
	}
	return printBackup(s, f.name, m)
}

// backupFile is a backup that is being written. It has its name once it is whole and verified.
type backupFile struct {
	name    string
	partial string
	force   bool
	f       *os.File // nil once there is nothing to drop
}

// partialEnd is what a backup is called by that is not whole, behind its name.
const partialEnd = ".partial"

// newBackupFile begins the file that backup take names.
func newBackupFile(c *cli.Context) (*backupFile, error) {
	name := c.Args().First()
	if name == "" {
		return nil, usagef("%s: FILE %q: want the name of a file, or - for standard output", c.Command.HelpName, name)
	}
	b := &backupFile{name: name, partial: name + partialEnd, force: c.Bool("force")}
	if err := b.free(); err != nil {
		return nil, err
	}
	// Values are as secret as the cluster.
	f, err := os.OpenFile(b.partial, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s: it is there: another backup is being written, or one was killed; remove it if none is", b.partial)
	}
	b.f = f
	return b, err
}

// free returns an error if a file has the name that must not be replaced.
func (b *backupFile) free() error {
	info, err := os.Stat(b.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s: is a directory; want the name of a file", b.name)
	case !b.force:
		return fmt.Errorf("%s: it is there; give another name, or --force to replace it once the new one is whole", b.name)
	}
	return nil
}

// drop removes what was written, unless it is whole.
func (b *backupFile) drop() {
	if b.f != nil {
		b.f.Close()
		os.Remove(b.partial)
		b.f = nil
	}
}

// settle makes sure that the file is kept and can be read, and gives it its name.
func (b *backupFile) settle() (*backup.Manifest, error) {
	if err := b.f.Sync(); err != nil {
		return nil, err
	}
	if _, err := b.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	m, err := backup.Verify(bufio.NewReaderSize(b.f, backupReadBytes))
	if err != nil {
		return nil, fmt.Errorf("%s, read back: %w", b.partial, err)
	}
	if err := b.free(); err != nil { // it has come since
		return nil, err
	}
	if err := os.Rename(b.partial, b.name); err != nil {
		return nil, err
	}
	f := b.f
	b.f = nil
	if err := f.Close(); err != nil {
		return nil, err
	}
	return m, syncDirOf(b.name)
}

// backupReadBytes is how much of a backup is read or written at once.
const backupReadBytes = 1 << 20

// syncDirOf has the name of a file kept.
func syncDirOf(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// verifyBackup reads a whole backup.
func verifyBackup(name string) (*backup.Manifest, error) {
	f, err := openBackup(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := backup.Verify(bufio.NewReaderSize(f, backupReadBytes))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// verifyInput is [verifyBackup], also of standard input.
func verifyInput(con *console, name string) (*backup.Manifest, error) {
	if name != fromInput {
		return verifyBackup(name)
	}
	m, err := backup.Verify(bufio.NewReaderSize(con.in, backupReadBytes))
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return m, nil
}

// openBackup opens the file of a backup.
func openBackup(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s: is a directory; want the file of a backup", name)
	}
	return f, nil
}

// shownBackup is what backup show prints.
type shownBackup struct {
	File      string       `json:"file"`
	Cluster   string       `json:"cluster"`
	ClusterID string       `json:"cluster_id"`
	MadeAt    time.Time    `json:"made_at"`
	Version   string       `json:"version"`
	SHA256    string       `json:"sha256"`
	Keys      uint64       `json:"keys"`
	Services  uint64       `json:"services"`
	Bytes     uint64       `json:"bytes"`
	Groups    []shownGroup `json:"groups"`
}

type shownGroup struct {
	ID       raft.GroupID `json:"id"`
	LogID    string       `json:"log_id"`
	Slots    []shownRun   `json:"slots"`
	Keys     uint64       `json:"keys"`
	Services uint64       `json:"services"`
	Bytes    uint64       `json:"bytes"`
}

type shownRun struct {
	From shardmap.Slot `json:"from"`
	To   shardmap.Slot `json:"to"`
}

func backupShow(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	name := c.Args().First()
	m, err := verifyInput(con, name)
	if err != nil {
		return err
	}
	b := shownBackup{name, m.Cluster, m.ClusterID, m.MadeAt, m.Version, m.SHA256, m.Keys(), m.Services(), m.Bytes(), []shownGroup{}}
	for i := range m.Groups {
		g := &m.Groups[i]
		row := shownGroup{g.ID, raft.FormatLogID(g.ID, g.At()), []shownRun{}, g.Keys, g.Services, g.Bytes}
		for _, r := range g.Slots {
			row.Slots = append(row.Slots, shownRun{r[0], r[1]})
		}
		b.Groups = append(b.Groups, row)
	}
	if asJSON {
		return con.printJSON(b)
	}
	if err := con.line("cluster %s (%s), by muster %s at %s: %s, %s, %s", b.Cluster, b.ClusterID, b.Version, b.MadeAt.Format(time.RFC3339), counted(int(b.Keys), "key"), counted(int(b.Services), "service"), showBytes(b.Bytes)); err != nil {
		return err
	}
	t := newTable(con.out, "GROUP", "LOG ID", "SLOTS", "KEYS", "SERVICES", "BYTES")
	for _, g := range b.Groups {
		slots := 0
		for _, r := range g.Slots {
			slots += int(r.To-r.From) + 1
		}
		t.row(number(g.ID), g.LogID, number(slots), number(g.Keys), number(g.Services), number(g.Bytes))
	}
	return t.Flush()
}

// transfer shows on standard error how far a backup or a restore is, where a person sees it.
type transfer struct {
	meter
	what  string
	total uint64 // bytes; 0: nobody knows
	done  uint64
}

// moved counts bytes of names and values of a group, and shows them now and then.
func (p *transfer) moved(bytes int, g raft.GroupID) {
	p.done += uint64(bytes)
	if !p.due() {
		return
	}
	line := fmt.Sprintf("%s group %d: %s", p.what, g, showBytes(p.done))
	if p.total > 0 {
		line += " of " + showBytes(p.total)
	}
	p.draw(line)
}

// end clears the line.
func (p *transfer) end() { p.clear() }
