package sim

import (
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// Instances of type ttl report themselves while their targets are up, and report once that they
// are down; one that hangs reports nothing.

const (
	// beatEvery is how often the instances are looked at for heartbeats that are due.
	beatEvery = 400 * time.Millisecond
	// beatFall is for how many intervals such an instance may be silent.
	beatFall = "3"
)

// beatIntervals are the intervals of such instances, in ms.
var beatIntervals = [...]string{"1000", "2000", "5000"}

// beats has instances report themselves.
type beats struct {
	c     *cluster
	under map[beatKey]*op           // the heartbeat that is on its way
	next  map[beatKey]time.Duration // when the next one is due
	said  map[beatKey]targetState   // what the last one reported
}

type beatKey struct{ name, instance string }

func (b *beats) init(c *cluster) {
	b.c, b.under, b.next, b.said = c, map[beatKey]*op{}, map[beatKey]time.Duration{}, map[beatKey]targetState{}
	b.plan()
}

func (b *beats) plan() { b.c.order.call(beatEvery, b.look) }

// look sends the heartbeats that are due.
func (b *beats) look() {
	c := b.c
	if c.services.ended {
		return
	}
	b.plan()
	c.lives.eachService(func(l *slotLife, name string, v *serviceVersion) {
		if v.service.Type != typeTTL {
			return
		}
		for i := range v.service.Instances {
			in := &v.service.Instances[i]
			key := beatKey{name, in.ID}
			state := c.services.target(in).state
			if o := b.under[key]; o != nil && !o.done || c.now < b.next[key] || state == targetHangs || state == targetDown && b.said[key] == targetDown {
				continue
			}
			b.next[key], b.said[key] = c.now+wholeOf(v.service, in)/4, state
			b.send(key, state == targetUp)
		}
	})
}

func (b *beats) send(key beatKey, up bool) {
	c := b.c
	slot := shardmap.SlotOf([]byte(key.name))
	q := &wire.Heartbeat{Group: c.lives.owner(slot), Name: key.name, Instance: key.instance, Status: wire.HeartbeatDown}
	if up {
		q.Status = wire.HeartbeatUp
	}
	if c.chaos.stopped {
		b.sendTo(c.leaderOf(q.Group), q)
		return
	}
	cl := c.clients[c.chance.below(len(c.clients))]
	if cl.asleep() {
		return
	}
	o := &op{client: cl, kind: opHeartbeat, number: c.history.begin(), beat: q, group: q.Group}
	o.call = client.Call{Owner: o, Target: client.ToGroup, Group: q.Group, Needs: shardmap.ServicesLevel}
	o.body = q.Append(nil)
	b.under[key] = o
	cl.submit(o)
	cl.settle()
}

// sendTo brings a heartbeat to the node that leads the group. Clients may not find the nodes
// any more, if these have changed addresses with each other.
func (b *beats) sendTo(lead *node, q *wire.Heartbeat) {
	if lead == nil {
		return
	}
	body := q.Append(nil)
	lead.soon(b.c.net.latency(), func() {
		end := &stepEnd{peerEnd: peerEnd{acceptor: acceptor{node: lead}}}
		end.say = func(repl.Reply, wire.Type, []byte) {}
		end.take(wire.TypeHeartbeat, body)
	})
}

// wholeOf is the time within which an instance has to report itself.
func wholeOf(s *registry.Service, in *registry.Instance) time.Duration {
	spec, err := in.Spec(s)
	if err != nil {
		return time.Hour
	}
	return spec.Interval * time.Duration(spec.Fall)
}

// beat takes a heartbeat at a node that leads the group.
func (k *checks) beat(q *wire.Heartbeat, answer func(*wire.Error)) {
	now := k.n.ticks.now()
	err := k.assigner.Heartbeat(now, q.Group, q.Name, q.Instance, q.Status == wire.HeartbeatUp, q.Note)
	if err == nil {
		k.proof.beat(q, now)
		k.plan(0)
	}
	answer(err)
}

// heard is what an instance has reported to an assigner.
type heard struct {
	up   time.Duration // when it reported last that it is up, by the node's clock
	ever bool          // it has reported that
	down bool          // it has reported since that it is down
}

// beat notes a heartbeat that an assigner has taken.
func (p *proof) beat(q *wire.Heartbeat, now time.Duration) {
	key := instanceKey{group: q.Group, name: q.Name, instance: q.Instance}
	h := p.beats[key]
	if h == nil {
		h = new(heard)
		p.beats[key] = h
	}
	if h.down = q.Status == wire.HeartbeatDown; !h.down {
		h.up, h.ever = now, true
	}
}

// silent checks what an assigner proposes of an instance that reports itself: up only if it has
// said so, and down only if it has said so or was silent for too long.
func (p *proof) silent(n *node, g raft.GroupID, name string, in *knownInstance, to registry.Status) {
	h := p.beats[instanceKey{group: g, name: name, instance: in.instance.ID}]
	if h == nil {
		h = new(heard)
	}
	now, whole := n.ticks.now(), wholeOf(in.service, in.instance)
	switch to {
	case registry.Up:
		if !h.ever {
			n.c.fail("n%d reports instance %s of service %q as up, which has not said so here", n.index, in.instance.ID, name)
		}
	case registry.Down:
		if since := max(h.up, p.led[g]); !h.down && now < since+whole {
			n.c.fail("n%d reports instance %s of service %q as down; it has %s to report itself, and %s ago it did, or this node began to lead", n.index, in.instance.ID, name, whole, now-since)
		}
	}
}
