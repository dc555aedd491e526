package cmd

import (
	"testing"

	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

// The command that an interrupted watch prints watches the same keys, typed into a shell as it
// stands.
func TestContinuation(t *testing.T) {
	at := []client.GroupPosition{
		{Group: 1, Position: shardmap.After(raft.LogID{Term: 2, Index: 17})},
		{Group: 3, Position: shardmap.After(raft.LogID{Term: 1, Index: 4})},
	}
	for _, tt := range []struct {
		q    client.WatchQuery
		want string
	}{
		{client.WatchQuery{}, "muster kv watch --from=g1/2.17,g3/1.4"},
		{client.WatchQuery{Prefix: []byte("w/"), Prev: true}, "muster kv watch --prev --from=g1/2.17,g3/1.4 w/"},
		{client.WatchQuery{Prefix: []byte("-x")}, "muster kv watch --from=g1/2.17,g3/1.4 -- -x"},
		{client.WatchQuery{Key: []byte("{u}it's a key")}, `muster kv watch --key='{u}it'\''s a key' --from=g1/2.17,g3/1.4`},
		{client.WatchQuery{Key: []byte("grün")}, "muster kv watch --key='grün' --from=g1/2.17,g3/1.4"},
		{client.WatchQuery{Key: []byte("a'\\\n\xfe")}, `muster kv watch --key=$'a\x27\x5c\x0a\xfe' --from=g1/2.17,g3/1.4`},
		{client.WatchQuery{From: []byte("a"), To: []byte("$b")}, "muster kv watch --from-key=a --to-key='$b' --from=g1/2.17,g3/1.4"},
		{client.WatchQuery{From: []byte{}, To: []byte("b")}, "muster kv watch --to-key=b --from=g1/2.17,g3/1.4"},
	} {
		if got := (&keyWatcher{&tt.q}).continuation(at); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
