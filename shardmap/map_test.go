package shardmap

import (
	"testing"

	"muster/raft"
)

func apply(t testing.TB, m *Map, index uint64, now raft.GroupTime, c *Command) Result {
	t.Helper()
	r, err := m.Apply(raft.LogID{Term: 1, Index: index}, now, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
