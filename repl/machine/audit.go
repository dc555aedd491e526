package machine

import (
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// A host looks for these by their methods alone.
var (
	_ repl.Audited   = (*Map)(nil)
	_ repl.Noticer   = (*Map)(nil)
	_ repl.Audited   = (*Meta)(nil)
	_ repl.Noticer   = (*Meta)(nil)
	_ repl.Muter     = (*Meta)(nil)
	_ repl.Unchecker = (*shardmap.MapCopy)(nil)
)

// Digests implements [repl.Audited].
func (m *Map) Digests(out []wire.AuditRow) []wire.AuditRow {
	m.rows = m.State.Digests(m.rows[:0])
	return appendRows(out, m.rows)
}

// Faults implements [repl.Noticer].
func (m *Map) Faults() []repl.WalkFault { return walkFaults(m.State.Faults()) }

// Walk implements [repl.Audited].
func (m *Map) Walk() repl.Walk { return walk{shardmap.NewWalk(m.State)} }

// Faults implements [repl.Noticer].
func (m *Meta) Faults() []repl.WalkFault { return walkFaults(m.Table.Faults()) }

// Digests implements [repl.Audited].
func (m *Meta) Digests(out []wire.AuditRow) []wire.AuditRow {
	return appendRows(out, m.Table.Digests(nil))
}

// Walk implements [repl.Audited].
func (m *Meta) Walk() repl.Walk { return walk{shardmap.NewTableWalk(m.Table)} }

// Mute implements [repl.Muter].
func (m *Meta) Mute(mute bool) { m.mute = mute }

func appendRows(out []wire.AuditRow, rows []shardmap.DigestRow) []wire.AuditRow {
	for _, r := range rows {
		out = append(out, wire.AuditRow{Part: uint32(r.Part), Digest: r.Digest})
	}
	return out
}

// walk is a walk of package shardmap, as the host takes it.
type walk struct {
	of interface {
		Step(bytes int) (done bool)
		Faults() []shardmap.PartFault
		End()
	}
}

// Step implements [repl.Walk].
func (w walk) Step(bytes int) (done bool) { return w.of.Step(bytes) }

// End implements [repl.Walk].
func (w walk) End() { w.of.End() }

// Faults implements [repl.Walk].
func (w walk) Faults() []repl.WalkFault { return walkFaults(w.of.Faults()) }

func walkFaults(found []shardmap.PartFault) (all []repl.WalkFault) {
	for _, f := range found {
		all = append(all, repl.WalkFault{Part: uint32(f.Part), What: f.String()})
	}
	return all
}
