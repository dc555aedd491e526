package services

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"muster/node/probe/probetest"
	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/shardmap/registry"
)

// kind is a service of one type, and what its instances stand for.
type kind struct {
	name, checkType string
	each            map[string]checked // by instance
}

// kinds are a service of each type, with servers that can be switched on and off. There are as
// many instances of each as make it likely that each node checks one.
type kinds struct {
	t     *testing.T
	late  *lateness
	all   []kind
	round string // with which the names end of the services that are set now; empty: none are
}

const instancesEach = 4

// newKinds makes them, with real servers where they are installed. All are switched off.
func newKinds(ctx context.Context, t *testing.T, cl *client.Client, s *script, wg *sync.WaitGroup) *kinds {
	k := &kinds{t: t, late: measureLateness(t)}
	// add adds a service whose instances have a server each.
	add := func(name, checkType string, server func(instance string) checked) {
		each := map[string]checked{}
		for i := range instancesEach {
			id := fmt.Sprintf("i%d", i)
			each[id] = server(id)
			each[id].off(t)
		}
		k.all = append(k.all, kind{name, checkType, each})
	}
	add("tcp", registry.TypeTCP, func(string) checked { return newListener(t, nil) })
	add("web", registry.TypeWeb, func(string) checked { return newWebsite(t) })
	add("grpc", registry.TypeGRPC, func(string) checked { return newHealth(t) })
	add("ttl", registry.TypeTTL, func(id string) checked { return newBeater(ctx, t, cl, id, wg) })
	// The others have one that is that of all instances.
	k.all = append(k.all, kind{"custom", registry.TypeCustom, alike(t, s)})
	reals := []struct {
		name, checkType string
		real            probetest.Real
		small           func(net.Conn) // nil: there is one of ours above
	}{
		{"redis", registry.TypeRedis, probetest.Redis, probetest.SmallRedis},
		{"mariadb", registry.TypeMySQL, probetest.MariaDB, probetest.SmallMySQL},
		{"postgresql", registry.TypePostgres, probetest.PostgreSQL, probetest.SmallPostgreSQL},
		{"nginx", registry.TypeWeb, probetest.Nginx, nil},
	}
	servers := make([]checked, len(reals))
	var making sync.WaitGroup
	for i, r := range reals {
		making.Go(func() { servers[i] = newInstalled(t, r.real, r.small) })
	}
	making.Wait()
	for i, r := range reals {
		if t.Failed() {
			t.FailNow()
		}
		if servers[i] != nil {
			k.all = append(k.all, kind{r.name, r.checkType, alike(t, servers[i])})
		}
	}
	return k
}

// alike are instances that one server stands behind. It is switched off.
func alike(t *testing.T, s checked) map[string]checked {
	s.off(t)
	each := map[string]checked{}
	for i := range instancesEach {
		each[fmt.Sprintf("i%d", i)] = s
	}
	return each
}

// named is what the service of a kind is called now.
func (k *kinds) named(of kind) string { return of.name + "-" + k.round }

// names are all of these.
func (k *kinds) names() (all []string) {
	for _, of := range k.all {
		all = append(all, k.named(of))
	}
	return all
}

// set sets services of new names, in the place of those that are set: what changes too often
// would be taken for flapping.
func (k *kinds) set(c *clustertest.Cluster, round string) {
	k.t.Helper()
	if k.round != "" {
		for _, name := range k.names() {
			c.Run("service", "del", name).Done(k.t)
		}
	}
	k.round = round
	var files []string
	for _, of := range k.all {
		name := k.named(of)
		files = append(files, fileOf(name, of.checkType, of.each))
		for _, s := range of.each {
			if b, ok := s.(*beater); ok {
				b.service.Store(&name)
			}
		}
	}
	setFile(c, files...).Done(k.t)
}

// turn switches all servers, each once, and checks that each service follows. Its time counts
// from when its own servers have been switched: some take seconds to start. For as long as the
// machine made others wait a status may be late.
func (k *kinds) turn(what string, turn func(checked, *testing.T), watch *statuses, status string, most time.Duration) {
	k.t.Helper()
	took, late := make([]time.Duration, len(k.all)), make([]time.Duration, len(k.all))
	var wg sync.WaitGroup
	for i, of := range k.all {
		wg.Go(func() {
			done := map[checked]bool{}
			for _, s := range of.each {
				if !done[s] {
					turn(s, k.t)
				}
				done[s] = true
			}
			before := k.late.so()
			took[i] = watch.all(status, most+clustertest.BusyMax, k.named(of))
			late[i] = k.late.so() - before
		})
	}
	wg.Wait()
	if k.t.Failed() {
		k.t.FailNow()
	}
	for i, of := range k.all {
		within(k.t, fmt.Sprintf("%s %s: %s", of.name, what, status), took[i], most+late[i])
	}
}

// looks returns how often the least looked-at server of type tcp was looked at.
func (k *kinds) looks() int64 {
	least := int64(-1)
	for _, of := range k.all {
		if of.checkType != registry.TypeTCP {
			continue
		}
		for _, s := range of.each {
			if n := s.looks(); least < 0 || n < least {
				least = n
			}
		}
	}
	return least
}

// checked waits until each instance of type tcp was looked at some more times.
func (k *kinds) checked(more int64) {
	k.t.Helper()
	was := k.looks()
	clustertest.Await(k.t, fmt.Sprintf("checked %d times more", more), clustertest.ReadyMax, func(context.Context) error {
		if n := k.looks() - was; n < more {
			return fmt.Errorf("some instance was looked at %d times", n)
		}
		return nil
	})
}

// read returns all services.
func (k *kinds) read(cl *client.Client) map[string]client.ServiceItem {
	k.t.Helper()
	all := map[string]client.ServiceItem{}
	for item, err := range cl.Services(k.t.Context(), client.ReadOptions{}) {
		if err != nil {
			k.t.Fatal(err)
		}
		all[item.Service.Name] = item
	}
	return all
}
