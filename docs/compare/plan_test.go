package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func defaults() options {
	return options{rounds: 1, tries: 1, kills: 1, restarts: 1, restartKeys: 1, window: time.Second}
}

// A plan without patterns has every case; with them it has those that match, and
// a pattern or system that selects nothing is a mistake.
func TestPlan(t *testing.T) {
	everything := []string{
		"get/1", "get/64", "get/1024", "put/1", "put/64", "put/1024",
		"get-16KiB/16", "get-16KiB/256", "put-16KiB/16", "put-16KiB/256",
		"get-64-groups/1024", "put-64-groups/1024", "failover/64", "restart",
	}
	for _, c := range []struct {
		cases, systems string
		want           []string
		wantSystems    []string // of the first stage
	}{
		{"", "", everything, []string{muster, etcd, dragonboat, redis, pipeline}},
		{"put/64", "", []string{"put/64"}, []string{muster, etcd, dragonboat, redis, pipeline}},
		{"put/*,restart", "", []string{"put/1", "put/64", "put/1024", "restart"}, []string{muster, etcd, dragonboat, redis, pipeline}},
		{"put/64,put/*", "", []string{"put/1", "put/64", "put/1024"}, []string{muster, etcd, dragonboat, redis, pipeline}},
		{"*-16KiB/16", "etcd,muster", []string{"get-16KiB/16", "put-16KiB/16"}, []string{muster, etcd}},
		{"", "redis", []string{"get/1", "get/64", "get/1024", "put/1", "put/64", "put/1024", "restart"}, []string{redis}},
	} {
		o := defaults()
		o.cases, o.systems = c.cases, c.systems
		stages, err := plan(o)
		if err != nil {
			t.Errorf("%q, %q: %v", c.cases, c.systems, err)
			continue
		}
		var got []string
		for _, s := range stages {
			for _, one := range s.cases {
				got = append(got, one.name)
			}
		}
		if !slices.Equal(got, c.want) || !slices.Equal(stages[0].systems, c.wantSystems) {
			t.Errorf("%q, %q: got %v for %v, want %v for %v", c.cases, c.systems, got, stages[0].systems, c.want, c.wantSystems)
		}
	}
	for _, c := range []struct {
		change func(*options)
		want   string
	}{
		{func(o *options) { o.cases = "put/65" }, "put/65"},
		{func(o *options) { o.cases = "put/64,nothing" }, "nothing"},
		{func(o *options) { o.cases = "put/[" }, "syntax"},
		{func(o *options) { o.systems = "zookeeper" }, "zookeeper"},
		{func(o *options) { o.rounds = 0 }, "positive"},
		{func(o *options) { o.window = 0 }, "positive"},
		{func(o *options) { o.restartKeys = -1 }, "positive"},
	} {
		o := defaults()
		c.change(&o)
		if stages, err := plan(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v, want an error with %q", stages, err, c.want)
		}
	}
}

// Nobody is always the first, who finds the machine cooler or the disk emptier.
func TestOrderAlternates(t *testing.T) {
	names := []string{"a", "b", "c"}
	if got := order(names, 1); !slices.Equal(got, names) {
		t.Errorf("first round: got %v", got)
	}
	if got := order(names, 2); !slices.Equal(got, []string{"c", "b", "a"}) || !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("second round: got %v, and the plan is %v", got, names)
	}
}
