package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// historyOf is the history of a key, each version as "set v", "deleted" or "expired".
func historyOf(ctx context.Context, c *client.Client, key string, o client.HistoryOptions) (all []string, err error) {
	for v, err := range client.History(ctx, c, []byte(key), o) {
		switch {
		case err != nil:
			return all, err
		case v.Expired:
			all = append(all, "expired")
		case v.Deleted:
			all = append(all, "deleted")
		default:
			all = append(all, "set "+string(v.Value))
		}
	}
	return all, nil
}

// A setting that a person changes must reach the logs of the groups, and what the client library then reads
// must be what was written, page after page.
func TestClientReadsHistory(t *testing.T) {
	n := serving(t, defaultLimits())
	cl := n.library()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	set := func(key, value string) client.Written {
		t.Helper()
		w, err := cl.Set(ctx, []byte(key), []byte(value), client.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	set("conf/a", "before")
	command, err := shardmap.AppendSetting(nil, &shardmap.Setting{Name: "history", Value: "conf/=100/1h"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Order(ctx, command, 0); err != nil {
		t.Fatal(err)
	}
	// The rule is there once a version says so.
	for ruled := false; !ruled; {
		for v, err := range client.History(ctx, cl, []byte("conf/a"), client.HistoryOptions{Limit: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			ruled = v.Kept == 100 && v.KeptFor == time.Hour
		}
	}
	began := time.Now().Add(-time.Second)
	last := set("conf/a", "1")
	big := strings.Repeat("x", wire.HistoryBytesMax/2)
	want := []string{"set 1", "set before"}
	for i := range 5 {
		value := fmt.Sprint(i, big)
		last = set("conf/a", value)
		want = slices.Insert(want, 0, "set "+value)
	}
	if _, err := cl.Delete(ctx, []byte("conf/a")); err != nil {
		t.Fatal(err)
	}
	want = slices.Insert(want, 0, "deleted")
	for _, o := range []client.HistoryOptions{{}, {Follower: true}} {
		if got, err := historyOf(ctx, cl, "conf/a", o); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v: %d versions, %v; want %d", o, len(got), err, len(want))
		}
	}
	if got, err := historyOf(ctx, cl, "conf/a", client.HistoryOptions{Limit: 3}); err != nil || !slices.Equal(got, want[:3]) {
		t.Errorf("three: %d versions, %v", len(got), err)
	}
	if got, err := historyOf(ctx, cl, "conf/a", client.HistoryOptions{Before: last.Version}); err != nil || !slices.Equal(got, want[2:]) {
		t.Errorf("before the last: %d versions, %v; want %d", len(got), err, len(want)-2)
	}
	for v, err := range client.In(cl, "conf/").History(ctx, []byte("a"), client.HistoryOptions{Before: last.Version + 1, Limit: 1}) {
		if err != nil || v.Version != last.Version || v.ID != last.ID || v.Group != last.Group || v.At.Before(began) || v.At.After(time.Now().Add(time.Second)) || v.By != "" {
			t.Errorf("the version %+v, %v; want that of %+v, just now", v, err, last)
		}
	}
	// A key without a rule has its version of now, and one that is not there has none.
	set("other", "v")
	if got, err := historyOf(ctx, cl, "other", client.HistoryOptions{}); err != nil || !slices.Equal(got, []string{"set v"}) {
		t.Errorf("a key without a rule: %s, %v", got, err)
	}
	if got, err := historyOf(ctx, cl, "conf/none", client.HistoryOptions{}); err != nil || len(got) > 0 {
		t.Errorf("a key that is not there: %s, %v", got, err)
	}
	for _, c := range []struct {
		key  string
		o    client.HistoryOptions
		want error
	}{
		{"", client.HistoryOptions{}, client.ErrBadRequest},
		{"a", client.HistoryOptions{Limit: -1}, client.ErrBadRequest},
		{"a", client.HistoryOptions{Local: true, Follower: true}, client.ErrBadRequest},
		{strings.Repeat("k", shardmap.KeyMax+1), client.HistoryOptions{}, client.ErrTooLarge},
	} {
		if _, err := historyOf(ctx, cl, c.key, c.o); !errors.Is(err, c.want) {
			t.Errorf("%.10q, %+v: %v, want %v", c.key, c.o, err, c.want)
		}
	}
}

// In a cluster with members of an older build nothing is sent.
func TestHistoryBelowItsLevel(t *testing.T) {
	older := defaultLimits()
	older.level = shardmap.RangesLevel - 1
	cl := serving(t, older).library()
	_, err := historyOf(t.Context(), cl, "a", client.HistoryOptions{})
	refused(t, "a history", err, wire.CodeLevel, "level 9", "upgrade")
}
