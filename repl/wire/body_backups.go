package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// BackupFilesMax bounds the files that one frame tells of, or has removed.
const BackupFilesMax = 2048

// Backups asks a node which backups of its cluster it has in its directory: [verify, [name, …], [name, …]].
type Backups struct {
	// Verify has the node forget what it has found in the files, and read all of each again. Without it the node does that only to
	// files that it has not read since it was started, or since the last Verify.
	Verify bool
	// Remove are names of files that are removed before. Those which are no backups of the cluster stay, and absent ones
	// are no error.
	Remove []string
	// Only are names of files of which alone it tells, and which alone it reads again; empty: all.
	Only []string
}

// BackupState is what a node knows of a file. Numbers are for ever.
type BackupState uint8

const (
	BackupUnread  BackupState = 0 // it has not read it yet
	BackupWhole   BackupState = 1 // it has read all of it, and each byte is as it was written
	BackupDamaged BackupState = 2 // it is not what was written
	BackupTorn    BackupState = 3 // the rest of a backup that was never whole
)

// BackupFile is a backup in the directory of a node.
type BackupFile struct {
	Name                   string
	State                  BackupState
	Made                   uint64 // when it was begun, by the clock of the node that took it, in Unix seconds
	Bytes                  uint64 // of the file
	Groups, Keys, Services uint64 // that are in it; 0 but of a whole one
	Wrong                  string // what is, of a damaged one
}

// BackupsAnswer answers a [Backups]:
//
//	[node, name, dir, [[name, state, made, bytes, groups, keys, services, wrong], …]]
//
// with the newest files first, and at most [BackupFilesMax] of them.
type BackupsAnswer struct {
	Node  raft.NodeID
	Name  string
	Dir   string // on the node's host
	Files []BackupFile
}

func (m *Backups) fields(f *fields) {
	f.exactly(3, func() {
		f.flag("verify", &m.Verify)
		list(f, "remove", &m.Remove, 1, func(f *fields, name *string) { f.text("name", name) })
		list(f, "only", &m.Only, 1, func(f *fields, name *string) { f.text("name", name) })
	})
}

func (m *BackupsAnswer) fields(f *fields) {
	f.atLeast(4, func() {
		number(f, "node", &m.Node)
		f.text("name", &m.Name)
		f.text("dir", &m.Dir)
		list(f, "files", &m.Files, 9, func(f *fields, o *BackupFile) {
			f.exactly(8, func() {
				f.text("name", &o.Name)
				number(f, "state", &o.State)
				number(f, "made", &o.Made)
				number(f, "bytes", &o.Bytes)
				number(f, "groups", &o.Groups)
				number(f, "keys", &o.Keys)
				number(f, "services", &o.Services)
				f.text("wrong", &o.Wrong)
			})
		})
	})
}

// Append appends the body.
func (m *Backups) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Backups) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := checkBackupNames("remove", m.Remove); err != nil {
		return err
	}
	return checkBackupNames("only", m.Only)
}

// checkBackupNames checks the names in a field of a [Backups].
func checkBackupNames(field string, names []string) error {
	if n := len(names); n > BackupFilesMax {
		return fmt.Errorf("field %s: %d names; want %d at most", field, n, BackupFilesMax)
	}
	for _, name := range names {
		if n := len(name); n == 0 || n > shardmap.TableTextMax {
			return fmt.Errorf("field %s: a name of %d bytes; want 1 to %d", field, n, shardmap.TableTextMax)
		}
	}
	return nil
}

// Append appends the body.
func (m *BackupsAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *BackupsAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if n := len(m.Files); n > BackupFilesMax {
		return fmt.Errorf("field files: %d of them; want %d at most", n, BackupFilesMax)
	}
	return nil
}
