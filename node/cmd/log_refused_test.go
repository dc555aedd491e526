package cmd

import (
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
)

// A disk that refuses to return a part of a data directory does not end the check
// of the rest, and nothing of it is called lost for good: no remedy speaks of an
// empty directory. It is not called needless either, where nothing tells how far the
// log was. Once the disk returns it, all is well.
func TestVerifyWhatIsRefused(t *testing.T) {
	killed := madeLog{entries: ids(1, 1, 60), commit: 60}.write(t)
	stopped := madeLog{entries: ids(1, 1, 60), commit: 60}.write(t)
	beginOn(t, stopped)
	t.Run("of a node that was killed", func(t *testing.T) { verifyRefused(t, killed) })
	t.Run("of one that stopped", func(t *testing.T) { verifyRefused(t, stopped) })
}

func verifyRefused(t *testing.T, data string) {
	disk := vfs.NewFaulty(vfs.OSReadOnly{})
	defer func(was vfs.FS) { localDisk = was }(localDisk)
	localDisk = disk
	for _, test := range []struct {
		name string
		rule vfs.Rule
	}{
		{"the identity", vfs.Rule{Fault: vfs.Error, Op: "read", Name: "identity"}},
		{"a sector of the log", vfs.Rule{Fault: vfs.Unreadable, Name: "*1.log", Offset: 4096}},
		{"a segment", vfs.Rule{Fault: vfs.Error, Op: "read", Name: "*1.log"}},
	} {
		test.rule.Times = vfs.Always
		armed := disk.Add(test.rule)
		row, err := verifyDir(data)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if armed.Fired() == 0 || row.OK || len(row.Damages) == 0 {
			t.Errorf("%s: got %+v", test.name, row)
		}
		for _, d := range row.Damages {
			if d.Lost == lostNothing {
				continue // what follows from it
			}
			if d.Remedy != remedyRefused || !strings.HasPrefix(d.File, filepath.Join(data)) || !strings.Contains(d.Reason, logstore.ErrRefused.Error()) {
				t.Errorf("%s: got %+v", test.name, d)
			}
		}
		disk.Clear()
		if row, err := verifyDir(data); err != nil || !row.OK {
			t.Errorf("%s is returned, and got %+v, %v", test.name, row, err)
		}
	}
}
