package shardmap

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// SlotTarget is a run of slots that a job moves, and where to.
type SlotTarget struct {
	SlotRange
	From raft.GroupID // the owner of today; in an order also 0, whoever that is
	To   raft.GroupID
}

func (s SlotTarget) String() string { return fmt.Sprintf("%s to %s", s.SlotRange, s.To) }

// AboutSlots reports whether a job of this kind moves slots. Such a job is carried out by
// moves, which the meta group's leader begins, a bounded number at a time:
//
//   - Paused, it begins none, and what is not sealed yet is not copied further. What is
//     sealed goes on: clients wait for it.
//   - Cancelled, it begins none, and in the same entry each of its open moves is flagged as
//     no longer wanted. It stays in the state running, and says that it is cancelled, until
//     those are closed, each at one of its two groups: a slot whose target had taken it over
//     by then is there and stays there, and so do the slots that were moved before. Nothing
//     is moved back. Only then it ends as cancelled.
//   - A slot that must be empty to move and is not stays where it is. The job goes on with
//     the others, and ends as failed, with the slots that stayed in its reason.
func (k JobKind) AboutSlots() bool {
	row := k.row()
	return row != nil && row.scope == ofSlots
}

// Unit is what the job's progress counts.
func (j *Job) Unit() string {
	switch {
	case j.Kind.AboutSlots():
		return "slots"
	case j.Kind.AboutKeys():
		return "keys"
	}
	return "replicas"
}

// Target returns where the job moves a slot; false if it does not move it.
func (j *Job) Target(s Slot) (SlotTarget, bool) {
	for _, to := range j.Targets {
		if to.Has(s) {
			return to, true
		}
	}
	return SlotTarget{}, false
}

// moving returns the unfinished job that moves one of the slots, and the slot; nil if there
// is none.
func (l jobList) moving(r SlotRange) (*Job, Slot) {
	for i := range l {
		for _, to := range l[i].Targets {
			if first := max(r.From, to.SlotRange.From); first <= min(r.To, to.SlotRange.To) {
				return &l[i], first
			}
		}
	}
	return nil, 0
}

// beginSlots checks what the job is to move, and leaves in it what there is to do: the
// slots that are not where they should be, with the owner of each.
func beginSlots(made draft, j *Job) error {
	asked := slices.SortedFunc(slices.Values(j.Targets), func(a, b SlotTarget) int { return cmp.Compare(a.SlotRange.From, b.SlotRange.From) })
	j.Targets = nil
	object := fmt.Sprint("job ", j.Kind)
	if len(asked) == 0 {
		return &Refusal{Kind: RefusedRequest, Object: object, Found: "it names no slots", Next: "name some: muster slot move FROM-TO GROUP"}
	}
	for i, r := range asked {
		switch {
		case r.SlotRange.To >= Slots || r.SlotRange.From > r.SlotRange.To:
			return &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("%s is no run of slots; they are 0 to %d", r.SlotRange, Slots-1), Next: "muster slot move FROM-TO GROUP"}
		case i > 0 && asked[i-1].SlotRange.To >= r.SlotRange.From:
			return &Refusal{Kind: RefusedRequest, Object: slotObject(r.SlotRange.From), Found: "it is named twice", Next: "name each slot once"}
		}
		if err := mayOwn(made.Table, r.To); err != nil {
			return err
		}
		if busy, s := jobList(made.Jobs).moving(r.SlotRange); busy != nil {
			return &Refusal{Kind: RefusedConflict, Object: slotObject(s), Found: fmt.Sprintf("it moves already: job %d (%s) is %s", busy.ID, busy.Kind, busy.standing()),
				Next: fmt.Sprintf("muster job wait %d, or muster job cancel %d", busy.ID, busy.ID)}
		}
		for s := range r.each() {
			owner := made.Slots[s]
			switch {
			case owner == 0:
				return &Refusal{Kind: RefusedConflict, Object: slotObject(s), Found: "no group owns it, so there is none to take it from", Next: "see muster slot list"}
			case r.From != 0 && r.From != owner:
				return &Refusal{Kind: RefusedConflict, Object: slotObject(s), Found: fmt.Sprintf("it is of %s, and the plan has it of %s: the plan is old", owner, r.From), Next: "make a new one: run the command again"}
			case owner == r.To:
				continue
			}
			j.addTarget(SlotTarget{SlotRange{s, s}, owner, r.To})
			j.Total++
		}
	}
	if j.Total == 0 {
		found := "all of them are there already, so there is nothing to do"
		if len(asked) == 1 && asked[0].SlotRange.Len() == 1 {
			found = "it is there already, so there is nothing to do"
		}
		return &Refusal{Kind: RefusedConflict, Object: targetsText(asked), Found: found, Next: "see muster slot list"}
	}
	return nil
}

// addTarget adds the slot behind those that the job has.
func (j *Job) addTarget(to SlotTarget) {
	if n := len(j.Targets); n > 0 && j.Targets[n-1].goesOn(to) {
		j.Targets[n-1].SlotRange.To = to.SlotRange.To
		return
	}
	j.Targets = append(j.Targets, to)
}

// goesOn reports whether next is the same about the slots behind those of s.
func (s SlotTarget) goesOn(next SlotTarget) bool {
	return s.From == next.From && s.To == next.To && s.SlotRange.To+1 == next.SlotRange.From
}

// mayOwn refuses a group that can't own slots.
func mayOwn(t *Table, g raft.GroupID) error {
	if g == 0 {
		return &Refusal{Kind: RefusedRequest, Object: g.String(), Found: "it holds the cluster's table, and never owns slots", Next: "choose another group: see muster group list"}
	}
	if _, ok := t.group(g); !ok {
		return unknownGroup(g)
	}
	return nil
}

func slotObject(s Slot) string { return fmt.Sprintf("slot %d", s) }

// targetsText names runs of slots for a sentence.
func targetsText(targets []SlotTarget) string {
	if len(targets) == 1 {
		return targets[0].SlotRange.Text()
	}
	var runs []SlotRange
	for _, to := range targets {
		runs = append(runs, to.SlotRange)
	}
	return "slots " + listShort(runs)
}

// describeTargets names runs of slots and where they go.
func describeTargets(targets []SlotTarget) string { return "slots " + describeList(targets) }

// standing is the job's state as people are told.
func (j *Job) standing() string {
	if j.Cancelled {
		return "being cancelled"
	}
	return j.State.String()
}

func appendTargets(b []byte, targets []SlotTarget) []byte {
	b = pack.AppendArray(b, len(targets))
	for _, to := range targets {
		b = pack.AppendArray(b, targetFields)
		b = pack.AppendUint(b, uint64(to.SlotRange.From))
		b = pack.AppendUint(b, uint64(to.SlotRange.To))
		b = pack.AppendUint(b, uint64(to.From))
		b = pack.AppendUint(b, uint64(to.To))
	}
	return b
}

const (
	targetFields = 4
	// targetBytesMin is what a target takes at least: its head, and each field in a byte.
	targetBytesMin = 1 + targetFields
)

func (r *tableReader) targets() []SlotTarget {
	return list(r, targetBytesMin, func() (to SlotTarget) {
		r.fields("target", targetFields)
		to.SlotRange = r.slotRange()
		to.From, to.To = r.groupID(), r.groupID()
		return to
	})
}

// checkSlots says why what the job has of slots can't stand in a table.
func (j *Job) checkSlots(t *Table) error {
	if !j.Kind.AboutSlots() || j.State.Finished() {
		if len(j.Targets) > 0 || len(j.Kept) > 0 || j.Cancelled || !j.Kind.AboutSlots() && (j.Bytes != 0 && !j.Kind.AboutKeys() || j.BytesTotal != 0) {
			return fmt.Errorf("job %d (%s, %s) is about slots", j.ID, j.Kind, j.State)
		}
		return nil
	}
	if err := checkRanges(j.Kept); err != nil {
		return fmt.Errorf("job %d: %w", j.ID, err)
	}
	for i, to := range j.Targets {
		r := to.SlotRange
		if r.To >= Slots || r.From > r.To || i > 0 && (j.Targets[i-1].SlotRange.To >= r.From || j.Targets[i-1].goesOn(to)) {
			return fmt.Errorf("job %d: target %s is out of order", j.ID, to)
		}
		for _, g := range [...]raft.GroupID{to.From, to.To} {
			if err := mayOwn(t, g); err != nil {
				return fmt.Errorf("job %d: target %s: %w", j.ID, to, err)
			}
		}
	}
	return nil
}
