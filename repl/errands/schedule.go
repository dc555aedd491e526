package errands

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"muster/shardmap"
)

const (
	// againMin and againMax bound the pause after a backup of the schedule that did not end well: a quarter of
	// the time between two, for the cause may be gone by then.
	againMin = 15 * time.Second
	againMax = time.Hour
	// lookPause is how often the wall clock is looked at while there is a schedule: it may jump.
	lookPause = 10 * time.Second
)

// NextBackup returns when the schedule wants the next backup by the table, in Unix seconds by the wall clock
// that it is given; false: it wants none, or one is under way. ended is when the last one was seen to have ended,
// if it has not ended well.
//
// It counts from the moment at which the last good backup was begun. A clock that was wrong then, and is right
// now, puts it off by no more than one more period.
func NextBackup(t *shardmap.Table, wall, ended int64) (at int64, wanted bool) {
	every := int64(t.BackupEvery() / time.Second)
	good, last := t.LastBackup()
	if every == 0 || last.ID != 0 && !last.State.Finished() {
		return 0, false
	}
	at = wall
	if good.ID != 0 {
		if at = good.Errand.At + every; at > wall+every {
			at = wall // it was begun in the future
		}
	}
	if last.ID != good.ID {
		// The last one failed, or a person cancelled it.
		pause := min(max(every/4, int64(againMin/time.Second)), int64(againMax/time.Second))
		if since := max(last.Errand.At, ended); since <= wall {
			at = max(at, since+pause)
		}
	}
	return at, true
}

// schedule orders a backup that is due.
func (c *Core) schedule(now Now, wake func(time.Duration)) {
	_, last := c.table.LastBackup()
	if _, seen := c.ended[last.ID]; last.ID != 0 && !seen && last.State.Finished() && last.State != shardmap.JobDone {
		c.ended[last.ID] = now.Wall
	}
	at, wanted := NextBackup(c.table, now.Wall, c.ended[last.ID])
	if !wanted {
		return
	}
	if now.Wall < at {
		wake(now.Host + min(time.Duration(at-now.Wall)*time.Second, lookPause))
		return
	}
	order := shardmap.NewJob{Kind: shardmap.JobBackup, Asks: shardmap.ErrandAsks{Scheduled: true, After: last.ID}}
	c.propose(now, fmt.Sprintf("backup after %d", last.ID), append1(shardmap.AppendNewJob(nil, &order)))
	wake(now.Host + sayAgain)
}

// Ends of the names of files.
const (
	FileEnd = ".backup"
	// PartEnd is what a backup is called by that is not whole, behind its name.
	PartEnd = ".part"

	fileBegin = "muster-"
	stamp     = "20060102T150405Z"
	// clusterMax is how much of a cluster's name is in the name of a file.
	clusterMax = 64
)

// FileName is the name of a backup that is begun at a time, in Unix seconds, by a table with an index. No two of a cluster
// have the same: the note that gives a backup its name raises the index, however often it is begun in one second, and
// whatever the clocks show. Names of one cluster are in the order of their times, but within a second.
func FileName(cluster string, at int64, index uint64) string {
	return fileBegin + safe(cluster) + "-" + time.Unix(at, 0).UTC().Format(stamp) + "-" + strconv.FormatUint(index, 10) + FileEnd
}

// safe is what stands of a cluster's name in the names of its files.
func safe(cluster string) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, cluster)
	return s[:min(len(s), clusterMax)]
}

// FileTime returns when a backup of that name was begun, in Unix seconds; false: it is not the name of one,
// or of one that is not whole.
func FileTime(name string) (at int64, ok bool) {
	f, ok := parseName(name)
	return f.at, ok
}

// IsFileOf reports whether a backup of that name is one of a cluster.
func IsFileOf(cluster, name string) bool {
	f, ok := parseName(name)
	return ok && f.cluster == safe(cluster)
}

// fileName is what the name of a backup tells.
type fileName struct {
	cluster string // as it stands in names
	at      int64  // Unix seconds
	index   uint64 // of the table by which it was begun
}

func parseName(name string) (f fileName, ok bool) {
	base, whole := strings.CutSuffix(name, FileEnd)
	base, begun := strings.CutPrefix(base, fileBegin)
	if !whole || !begun || strings.ContainsAny(base, "/\\\x00") {
		return f, false
	}
	last := strings.LastIndexByte(base, '-') + 1
	index, err := strconv.ParseUint(base[last:], 10, 64)
	if err != nil || last == 0 || strconv.FormatUint(index, 10) != base[last:] {
		return f, false
	}
	f.index, base = index, base[:last-1]
	at := len(base) - len(stamp)
	if at < 1 || base[at-1] != '-' {
		return f, false
	}
	t, err := time.Parse(stamp, base[at:])
	if err != nil {
		return f, false
	}
	f.cluster, f.at = base[:at-1], t.Unix()
	return f, true
}
