package cmd

import (
	"fmt"
	"slices"
	"strings"

	"muster/repl/wire"
	"muster/shardmap"
)

type checkRow struct {
	Groups []checkedRow `json:"groups"`
	OK     bool         `json:"ok"` // Invariant: all groups agree
}

type checkedRow struct {
	ID        int            `json:"id"`
	Index     uint64         `json:"index"` // of the entry at which they were compared; 0: they were not
	Replicas  int            `json:"replicas"`
	Agree     bool           `json:"agree"`     // Invariant: they were compared, and none is Differing
	Differing []differingRow `json:"differing"` // those that do not agree
	Why       string         `json:"why,omitempty"`
}

type differingRow struct {
	Node    string   `json:"node"`
	Replica string   `json:"replica"`
	State   string   `json:"state"`
	Parts   []string `json:"parts"`
	More    uint64   `json:"more"` // further parts

	state wire.CheckedState
}

// wrong reports whether a replica has a state that it should not have, as far as is known.
func wrong(s wire.CheckedState) bool { return s != wire.CheckedAgrees && s != wire.CheckedSilent }

// row is the outcome for all groups that were wanted.
func (k *comparison) row() *checkRow {
	row := &checkRow{Groups: []checkedRow{}, OK: true}
	name := nodeNames(k.nodes)
	for _, id := range k.wanted {
		g, found := k.found[id]
		if k.needsWord(id) {
			g, found = k.waiting(id), true
		}
		r := checkedRow{ID: int(id), Index: g.At.Index, Replicas: len(g.Replicas), Differing: []differingRow{}, Why: g.Why}
		if !found {
			r.Why = "no node that answered leads it"
		} else if r.Index == 0 && r.Why == "" {
			r.Why = "its leader does not say why"
		}
		for i := range g.Replicas {
			if p := &g.Replicas[i]; p.State != wire.CheckedAgrees {
				r.Differing = append(r.Differing, differingRow{name(p.Node), number(p.Replica), p.State.String(), shardmap.PartNames(p.Parts), p.PartsMore, p.State})
			}
		}
		r.Agree = r.Index > 0 && len(r.Differing) == 0
		row.OK = row.OK && r.Agree
		row.Groups = append(row.Groups, r)
	}
	return row
}

// status is what the command ends with.
func (r *checkRow) status() exitStatus {
	switch {
	case r.OK:
		return exitDone
	case slices.ContainsFunc(r.Groups, (checkedRow).differs):
		return exitRefused
	}
	return exitNoResult
}

// differs reports whether a replica is known to be wrong.
func (r checkedRow) differs() bool {
	return slices.ContainsFunc(r.Differing, func(d differingRow) bool { return wrong(d.state) })
}

// advice says what a person can do about what was found, where the table does not say it.
func (r *checkRow) advice() (lines []string) {
	var differ, quiet bool
	for i := range r.Groups {
		for _, d := range r.Groups[i].Differing {
			differ = differ || r.Groups[i].Index > 0 && (d.state == wire.CheckedDiffers || d.state == wire.CheckedUndecided)
			quiet = quiet || d.state == wire.CheckedSilent
		}
	}
	if differ {
		lines = append(lines, "what differs is rebuilt by itself, within seconds; where the setting audit-pace is off, by muster check --fix")
	}
	if quiet {
		lines = append(lines, "the node of a silent replica is down, cut off or far behind: muster doctor says which")
	}
	return lines
}

// in is where a replica differs, for the end of a sentence.
func (d *differingRow) in() string {
	if text := shardmap.ListParts(d.Parts, d.More); text != "" {
		return " in " + text
	}
	return ""
}

// result is a group's outcome in a few words.
func (r *checkedRow) result() string {
	switch {
	case r.Agree:
		return "agree"
	case r.Index == 0:
		return "not compared: " + r.Why
	}
	var words []string
	rest := len(r.Differing)
	for s := wire.CheckedDiffers; s <= wire.CheckedUndecided; s++ {
		n := 0
		for i := range r.Differing {
			if r.Differing[i].state == s {
				n++
			}
		}
		if rest -= n; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, s))
		}
	}
	if rest > 0 {
		words = append(words, fmt.Sprintf("%d in another state", rest))
	}
	if r.Why != "" {
		words = append(words, r.Why)
	}
	return strings.Join(words, ", ")
}

func printCheck(s *errand, row *checkRow) error {
	t := newTable(s.out, "GROUP", "INDEX", "REPLICAS", "RESULT")
	for i := range row.Groups {
		r := &row.Groups[i]
		index, replicas := number(r.Index), number(r.Replicas)
		if r.Index == 0 {
			index, replicas = "-", "-"
		}
		t.row(number(r.ID), index, replicas, r.result())
		for j := range r.Differing {
			d := &r.Differing[j]
			t.row("", "", "", fmt.Sprintf("replica %s on %s: %s%s", d.Replica, orDash(d.Node), d.State, d.in()))
		}
	}
	return t.Flush()
}
