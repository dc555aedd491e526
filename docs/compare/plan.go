package main

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"muster/docs/compare/load"
)

// options are the flags.
type options struct {
	cases, systems  string
	rounds          int
	window, warmup  time.Duration
	patience        time.Duration
	tries           int
	kills, restarts int
	restartKeys     int
	checkout, dir   string
	rows, page      string
}

// Names of the systems.
const (
	muster     = "muster"
	etcd       = "etcd"
	dragonboat = "dragonboat"
	redis      = "redis"
	pipeline   = "pipeline"
	// oneGroup is muster again, beside muster with many groups.
	oneGroup = "muster-1-group"
)

var systems = []string{muster, etcd, dragonboat, redis, pipeline, oneGroup}

// Sizes. Keys of 16 bytes and values of 128 are what performance.md uses
// throughout.
const (
	smallKeys   = 50_000
	smallValue  = 128
	largeKeys   = 2_000
	largeValue  = 16 << 10
	fillCallers = 256
	manyGroups  = 64
	writers     = 64 // while a leader is killed
)

// stage is cases for which a system is started once.
type stage struct {
	systems    []string
	keys       int
	valueBytes int
	groups     int // of muster; 0 for its default
	cases      []testCase
}

// testCase is one row of a table. It is a loop, or has a kind of its own.
type testCase struct {
	name    string
	kind    kind
	op      load.Op // of a loop
	callers int
}

type kind int

const (
	loop     kind = iota
	failover      // kills the leader under writers
	restart       // kills all nodes and starts them
)

// stages is everything there is. Gets come first: a cluster that was just filled
// is the same for everybody, one that has been written to for seconds has as much
// more to remember as it is faster.
func stages(o options) []stage {
	return []stage{
		{
			systems: []string{muster, etcd, dragonboat, redis, pipeline}, keys: smallKeys, valueBytes: smallValue,
			cases: loops("%s/%d", 1, 64, 1024),
		},
		{
			systems: []string{muster, etcd}, keys: largeKeys, valueBytes: largeValue,
			cases: loops("%s-16KiB/%d", 16, 256),
		},
		{
			systems: []string{muster, oneGroup}, keys: smallKeys, valueBytes: smallValue, groups: manyGroups,
			cases: loops("%s-64-groups/%d", 1024),
		},
		{
			systems: []string{muster, etcd}, keys: smallKeys, valueBytes: smallValue,
			cases: []testCase{{name: fmt.Sprintf("failover/%d", writers), kind: failover, callers: writers}},
		},
		{
			systems: []string{muster, redis}, keys: o.restartKeys, valueBytes: smallValue,
			cases: []testCase{{name: "restart", kind: restart}},
		},
	}
}

func loops(name string, callers ...int) (all []testCase) {
	for _, op := range []load.Op{load.Get, load.Put} {
		for _, n := range callers {
			all = append(all, testCase{name: fmt.Sprintf(name, op, n), op: op, callers: n})
		}
	}
	return all
}

// plan returns what the options select of everything there is.
func plan(o options) ([]stage, error) {
	if min(o.rounds, o.tries, o.kills, o.restarts, o.restartKeys) < 1 || o.window <= 0 || o.warmup < 0 {
		return nil, errors.New("rounds, tries, kills, restarts, restart-keys and window have to be positive")
	}
	patterns, wanted := commas(o.cases), commas(o.systems)
	for _, s := range wanted {
		if !slices.Contains(systems, s) {
			return nil, fmt.Errorf("no system is called %q; there are %s", s, strings.Join(systems, ", "))
		}
	}
	used := map[string]bool{}
	var all []stage
	for _, s := range stages(o) {
		s.systems = slices.DeleteFunc(s.systems, func(name string) bool {
			return len(wanted) > 0 && !slices.Contains(wanted, name)
		})
		s.cases = slices.DeleteFunc(s.cases, func(c testCase) bool { return !matches(patterns, c.name, used) })
		if len(s.systems) > 0 && len(s.cases) > 0 {
			all = append(all, s)
		}
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		if !used[p] {
			return nil, fmt.Errorf("no case matches %q; -list lists them", p)
		}
	}
	return all, nil
}

// matches reports whether one of the patterns selects a case, and notes which do.
// Without patterns every case is selected.
func matches(patterns []string, name string, used map[string]bool) bool {
	selected := len(patterns) == 0
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			used[p], selected = true, true
		}
	}
	return selected
}

func commas(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// order is that of the systems in a round: who begins alternates.
func order(names []string, round int) []string {
	turned := slices.Clone(names)
	if round%2 == 0 {
		slices.Reverse(turned)
	}
	return turned
}
