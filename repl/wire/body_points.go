package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// PointsAnswer answers a Write whose command brings points to a shard:
//
//	[group, term, index, outcome]
//
// with the outcome as shardmap.PointsOutcome has it.
type PointsAnswer struct {
	Group   raft.GroupID
	ID      raft.LogID
	Outcome shardmap.PointsOutcome
}

const pointsAnswerFields = 4

// SetDetail takes the outcome from the detail of the command's result.
func (a *PointsAnswer) SetDetail(detail []byte) error {
	r := pack.NewReader(detail)
	if err := a.Outcome.Read(&r); err != nil {
		return err
	}
	return r.Done()
}

// Append appends the body.
func (a *PointsAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, pointsAnswerFields)
	b = appendLogID(b, a.Group, a.ID)
	return a.Outcome.Append(b)
}

// Read reads the body.
func (a *PointsAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.ID = readLogID(&r)
	if err := a.Outcome.Read(&r); err != nil {
		return err
	}
	r.Trailing(n, pointsAnswerFields)
	return r.Done()
}

func (a *PointsAnswer) lines() []string {
	o := &a.Outcome
	lines := []string{"at " + raft.FormatLogID(a.Group, a.ID),
		fmt.Sprintf("points stored %d dropped %d superseded %d deleted %d", o.Stored, o.Dropped, o.Superseded, o.Deleted)}
	for i := range o.Refused {
		lines = append(lines, o.Refused[i].String())
	}
	return lines
}

// PointsDeleteAnswer answers a Write whose command takes points away from shards:
//
//	[group, term, index, outcome]
//
// with the outcome as shardmap.PointsDeleteOutcome has it.
type PointsDeleteAnswer struct {
	Group   raft.GroupID
	ID      raft.LogID
	Outcome shardmap.PointsDeleteOutcome
}

const pointsDeleteAnswerFields = 4

// SetDetail takes the outcome from the detail of the command's result.
func (a *PointsDeleteAnswer) SetDetail(detail []byte) error {
	r := pack.NewReader(detail)
	if err := a.Outcome.Read(&r); err != nil {
		return err
	}
	return r.Done()
}

// Append appends the body.
func (a *PointsDeleteAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, pointsDeleteAnswerFields)
	b = appendLogID(b, a.Group, a.ID)
	return a.Outcome.Append(b)
}

// Read reads the body.
func (a *PointsDeleteAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.ID = readLogID(&r)
	if err := a.Outcome.Read(&r); err != nil {
		return err
	}
	r.Trailing(n, pointsDeleteAnswerFields)
	return r.Done()
}

func (a *PointsDeleteAnswer) lines() []string {
	o := &a.Outcome
	return []string{"at " + raft.FormatLogID(a.Group, a.ID), fmt.Sprintf("shards deleted %d passed %d dropped %d", o.Deleted, o.Passed, o.Dropped)}
}
