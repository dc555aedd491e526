//go:build plantedbugs

package blocks

import (
	"testing"

	"muster/logstore/vfs"
)

// Each bug must be found by the test that is there for it, which finds nothing without it.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, find := range map[string]func() string{
		bugNoDirectorySync: func() string {
			wrong, _ := newStory(t).crashes()
			return wrong
		},
		bugNamedBeforeSync: func() string {
			wrong, _ := newStory(t).crashes()
			return wrong
		},
		bugSyncRetried: func() string {
			wrong, _ := newStory(t).faults(vfs.FailedSync)
			return wrong
		},
		bugReceivedUnverified: func() string { return sentWrong(t) },
		bugLastCopyTrimmed:    func() string { return asideStays(t) },
		bugDamagedStays: func() string {
			disk, file, sum := twoFiles(t)
			return rots(t, disk, file, sum, func(disk *vfs.Mem, name string) { disk.Corrupt(name, 40, 1) })
		},
	} {
		SetBug("")
		if wrong := find(); wrong != "" {
			t.Errorf("without %q: %s", bug, wrong)
		}
		SetBug(bug)
		if wrong := find(); wrong == "" {
			t.Errorf("%q is not found", bug)
		} else {
			t.Logf("%s: %s", bug, wrong)
		}
	}
}
