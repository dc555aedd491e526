package repl

import (
	"time"

	"muster/raft"
)

// Link is what a node knows of its link to another: of the connection on which
// it sends, and whose pings the other side answers.
type Link struct {
	Connected bool
	RTT       time.Duration // of the last ping that was answered, on this connection or one before; 0: none
	RTTAgo    time.Duration // how long ago that was
	Waiting   time.Duration // how long the ping under way has waited; 0: there is none
	Why       string        // why there is no connection; empty if there is, or none was tried
	Err       error         // the same, to tell its kind; nil if Why is empty
}

// Link returns what is known of the link to a node.
func (p *Peers) Link(id raft.NodeID) Link {
	o := p.peer(id)
	if o == nil {
		return Link{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.link
	l.Connected = o.connected
	if l.RTT > 0 {
		l.RTTAgo = time.Since(o.answeredAt)
	}
	if l.Connected {
		l.Why, l.Err = "", nil
		if !o.pingedAt.IsZero() {
			l.Waiting = time.Since(o.pingedAt)
		}
	}
	return l
}

// pinged notes that a ping is on its way; answered, that it came back.
func (o *peer) pinged() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pingedAt = time.Now()
}

func (o *peer) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.pingedAt.IsZero() {
		o.answeredAt = time.Now()
		o.link.RTT = o.answeredAt.Sub(o.pingedAt)
	}
	o.pingedAt = time.Time{}
}

// unreached notes why a dial at addr did not reach the node. A failure at an address
// where the node is only looked for must not hide what is wrong at the node's own.
func (o *peer) unreached(addr string, err error) {
	known := o.owner.Addr(o.id)
	o.mu.Lock()
	tried := o.link.Why != ""
	o.mu.Unlock()
	if addr == known || !tried {
		o.unlinked(err)
	}
}

// unlinked notes why there is no connection.
func (o *peer) unlinked(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pingedAt = time.Time{}
	o.link.Why, o.link.Err = "", err
	if err != nil {
		o.link.Why = err.Error()
	}
}
