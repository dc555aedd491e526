package shardmap

import (
	"fmt"

	"muster/shardmap/pack"
	"muster/shardmap/registry"
)

// Report is what the checks of one service's instances have found. Only what has changed is
// reported.
type Report struct {
	Name string // of the service
	Rows []ReportRow
}

// ReportRow is about one instance.
type ReportRow struct {
	Instance string
	// Check is the version of what was checked. A row that has another one than the instance
	// changes nothing, unless it is one of ReportHooked.
	Check  uint64
	Status registry.Status // of ReportStatus
	Reason string          // likewise; at most registry.ReasonMax bytes
	At     int64           // Op says of what
	Op     ReportOp
}

// ReportOp says what a [ReportRow] reports. Numbers are for ever.
type ReportOp uint8

// What is reported.
const (
	// ReportStatus: the instance has this status since At, ms since 1970.
	ReportStatus ReportOp = 1
	// ReportGone: the instance has been down since the slot's time At, ms, and is deregistered
	// for that, if it still is.
	ReportGone ReportOp = 2
	// ReportHooked: the webhook was told of changes up to the one with the count At.
	ReportHooked ReportOp = 3
)

func (o ReportOp) String() string {
	switch o {
	case ReportStatus:
		return "status"
	case ReportGone:
		return "gone"
	case ReportHooked:
		return "hooked"
	}
	return fmt.Sprintf("op %d", uint8(o))
}

const (
	reportFields    = 2
	reportRowFields = 6
	// reportRowMin is what a row takes at least: its head, and each field in a byte.
	reportRowMin = 1 + reportRowFields
)

// ReportCommand returns the command of a report about a service in a slot. The body, which is its
// only item, is a msgpack array:
//
//	[name, [[instance, check, status, reason, at, op] …]]
func ReportCommand(slot Slot, r *Report) Command {
	b := pack.AppendString(pack.AppendArray(nil, reportFields), r.Name)
	b = pack.AppendArray(b, len(r.Rows))
	for i := range r.Rows {
		row := &r.Rows[i]
		b = pack.AppendString(pack.AppendArray(b, reportRowFields), row.Instance)
		b = pack.AppendUint(b, row.Check)
		b = pack.AppendUint(b, uint64(row.Status))
		b = pack.AppendString(b, row.Reason)
		b = pack.AppendInt(b, row.At)
		b = pack.AppendUint(b, uint64(row.Op))
	}
	return Command{Kind: CommandReport, Slot: slot, Items: [][]byte{b}}
}

// ReadReport reads the body of a [CommandReport].
func ReadReport(c *Command) (*Report, error) {
	if c.Kind != CommandReport || len(c.Items) != 1 {
		return nil, fmt.Errorf("%w: %s with %d items is no report", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("report", reportFields)
	p := &Report{Name: r.String()}
	n := r.Array()
	if room := len(r.Rest()); n > room/reportRowMin {
		r.Fail(fmt.Sprintf("%d rows in %d bytes", n, room))
	}
	if r.Err() == nil {
		p.Rows = make([]ReportRow, n)
	}
	for i := range p.Rows {
		row := &p.Rows[i]
		r.fields("row of a report", reportRowFields)
		row.Instance, row.Check = r.String(), r.Uint()
		row.Status = registry.Status(r.UintMax(uint64(registry.Flapping)))
		row.Reason, row.At, row.Op = r.String(), r.Int(), ReportOp(r.UintMax(255))
		if r.Err() == nil && (row.Op == 0 || row.Op > ReportHooked) {
			return nil, fmt.Errorf("report of %s: %w; known are 1 to %d", row.Op, ErrLevel, ReportHooked)
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// describeReport shows reasons, which checks have written, and no setting.
func describeReport(c *Command) (string, error) {
	p, err := ReadReport(c)
	if err != nil {
		return "", err
	}
	text := describeText(p.Name)
	for i := range p.Rows[:min(len(p.Rows), describedMax)] {
		row := &p.Rows[i]
		switch text += fmt.Sprintf(", %s of %s", row.Op, describeText(row.Instance)); row.Op {
		case ReportStatus:
			text += fmt.Sprintf(" %s check %d at %d: %s", row.Status, row.Check, row.At, describeText(row.Reason))
		case ReportGone:
			text += fmt.Sprintf(" check %d down since %d", row.Check, row.At)
		default:
			text += fmt.Sprintf(" count %d", row.At)
		}
	}
	if n := len(p.Rows) - describedMax; n > 0 {
		text += fmt.Sprintf(", and %d rows more", n)
	}
	return text, nil
}

// readReport reads the body of a report, for report.
func (b *body) readReport(c *Command) (err error) {
	b.report, err = ReadReport(c)
	return err
}

// report is [CommandReport]. What it says of an instance that has gone, or is checked in
// another way by now, changes nothing.
func (s *slotState) report(m *Map, _ *Command) Result {
	p := m.body.report
	m.body.report = nil
	v := s.serviceOf(m, p.Name)
	if v == nil {
		return Result{Status: StatusNoService, ID: m.turn.id}
	}
	changed, now := false, s.time(m.turn.now).milliseconds()
	for i := range p.Rows {
		changed = reported(v, &p.Rows[i], now) || changed
	}
	if !changed {
		return Result{Status: StatusApplied, ID: m.turn.id}
	}
	s.setLast(s.nextVersion(m.turn.id))
	s.putService(m, p.Name, v.Append(nil), s.last)
	return Result{Status: StatusApplied, ID: m.turn.id, Version: s.last}
}

// reported carries out one row of a report, at the slot's time now in ms, and reports whether
// that changed the service.
func reported(v *registry.Service, row *ReportRow, now uint64) bool {
	i := v.Instance(row.Instance)
	switch {
	case i == nil:
		return false
	case row.Op == ReportHooked:
		told := min(uint64(max(row.At, 0)), i.Count)
		if told <= i.Hooked {
			return false
		}
		i.Hooked = told
		return true
	case row.Check != i.Check && !bug("report about another check applied"):
		return false // it was found before the instance was defined anew
	case row.Op == ReportStatus:
		return i.Report(row.Status, row.Reason, row.At, now)
	case i.Status != registry.Down || i.SinceSlot != uint64(row.At):
		return false // it has been up since
	}
	v.Instances = without(v.Instances, i)
	return true
}
