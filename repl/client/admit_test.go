package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A call of several keys of which one is over a limit must change nothing: its
// keys go to several slots, and those that came before would be written. What a
// value may have is not known before the client has asked for the table.
func TestNothingIsSentWhereOneIsRefused(t *testing.T) {
	f := newFake(t, 1, 3)
	f.valueMax = 8
	long := strings.Repeat("k", shardmap.KeyMax+1)
	for _, tt := range []struct {
		name  string
		pairs []Pair
		want  string
	}{
		{"long key", []Pair{{Key: []byte("a")}, {Key: []byte(long)}, {Key: []byte("b")}}, "set: too-large: key \"kkkk"},
		{"empty key", []Pair{{Key: []byte("a")}, {}}, "set: bad-request: set: "},
		{"long value", []Pair{{Key: []byte("a")}, {Key: []byte("b\xff"), Value: []byte("nine char")}}, `set: too-large: value of "b\xff": over the limit (9 bytes, the limit is 8)`},
	} {
		c := f.open(Options{}) // one that has no table yet
		written, err := c.SetMany(t.Context(), tt.pairs)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || errors.As(err, new(*PartlyError)) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
		for i, w := range written {
			if w != (Written{}) {
				t.Errorf("%s: pair %d is said to be written: %v", tt.name, i, w)
			}
		}
		if strings.Contains(tt.name, "key") {
			var keys [][]byte
			for _, p := range tt.pairs {
				keys = append(keys, p.Key)
			}
			if done, err := c.Delete(t.Context(), keys...); err == nil || len(done) > 0 {
				t.Errorf("%s: delete: got %v, %v", tt.name, done, err)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.data) > 0 || len(f.outcomes) > 0 {
		t.Errorf("the cluster has %d keys and was sent %d commands", len(f.data), len(f.outcomes))
	}
}

// A log id of a group that none of the keys is of would bind nothing: a reader
// that took it from another write would wait for what never comes, or, as it
// was, not wait at all.
func TestAfterOfAnotherGroup(t *testing.T) {
	f := newFake(t, 1, 3)
	keys := make([][]byte, 4) // of groups 1 to 3
	for i := 0; keys[1] == nil || keys[2] == nil || keys[3] == nil; i++ {
		key := []byte(fmt.Sprint("key", i))
		keys[f.groupOf(shardmap.SlotOf(key))] = key
	}
	for _, tt := range []struct {
		keys  [][]byte
		group raft.GroupID
		want  string // "" where it is right
	}{
		{keys[1:2], 1, ""},
		{keys[1:4], 3, ""},
		{keys[1:2], 2, "key %q is of group g1"},
		{keys[1:3], 3, "key %q is of group g1"},
		{keys[1:4], 9, "key %q is of group g1"},
	} {
		o := ReadOptions{AfterGroup: tt.group, After: raft.LogID{Term: 1, Index: 1}}
		c := f.open(Options{})
		_, _, err := c.Get(t.Context(), tt.keys, o)
		_, _, _, one := f.open(Options{}).GetOne(t.Context(), tt.keys[0], nil, o)
		if tt.want == "" {
			if err != nil || len(tt.keys) == 1 && one != nil {
				t.Errorf("%q after group %d: got %v, %v", tt.keys, tt.group, err, one)
			}
			continue
		}
		for _, err := range []error{err, one} {
			if want := fmt.Sprintf(tt.want, tt.keys[0]); codeOf(err) != wire.CodeBadRequest || !strings.Contains(err.Error(), want) {
				t.Errorf("%q after group %d: got %v, want %s", tt.keys, tt.group, err, want)
			}
		}
	}
}
