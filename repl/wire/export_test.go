package wire

import (
	"net"
	"time"
)

// ReadBody reads a body as it is read in a frame of type t.
func ReadBody(t Type, body []byte) error { return rows[t].body(t).Read(body) }

// FieldsBody returns an empty body of type t if it is one that says its fields.
func FieldsBody(t Type) (Body, bool) {
	w, ok := rows[t].body(t).(walked)
	if !ok {
		return nil, false
	}
	return w.(Body), true
}

// Types are all that this version has.
func Types() (all []Type) {
	for t := range typeEnd {
		if t.Known() {
			all = append(all, t)
		}
	}
	return all
}

// BeginHandshake, ResumeHandshake and LeaveGate are a handshake's way through a gate.
func BeginHandshake(g *Gate, from net.Addr, until time.Time) error {
	return g.begin(hostOf(from), until)
}

// ResumeHandshake is described with [BeginHandshake].
func ResumeHandshake(g *Gate, until time.Time) error { return g.resume(until) }

// LeaveGate is described with [BeginHandshake].
func LeaveGate(g *Gate) { g.leave() }

// LetInHandshake is [TLSConn.LetIn] for one of a host.
func LetInHandshake(g *Gate, from net.Addr) { g.refund(hostOf(from)) }

// GateHosts is how many hosts wait at a gate, and of how many it keeps account.
func GateHosts(g *Gate) (waiting, known int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.hosts), len(g.known)
}

// The limits of a gate.
const (
	UnprovenBurst = unprovenBurst
	UnprovenRate  = unprovenRate
	GateHostsMax  = gateHostsMax
)
