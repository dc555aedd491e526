package overview

import (
	"fmt"
	"time"

	"muster/shardmap"
)

// EventKind says what has changed.
type EventKind string

// Kinds of events.
const (
	EventVerdict       EventKind = "verdict"        // the verdict is another one, or for another reason
	EventNodeLost      EventKind = "node-lost"      // a node is dead
	EventNodeBack      EventKind = "node-back"      // one that was dead is there again
	EventNodeRestarted EventKind = "node-restarted" // a node was started anew
	EventNodeAdded     EventKind = "node-added"
	EventNodeRemoved   EventKind = "node-removed"
	EventNodeStage     EventKind = "node-stage" // a node that lives joins, drains, or does so no more
	EventLeader        EventKind = "leader"     // a group has another leader, or none
	EventGroupAdded    EventKind = "group-added"
	EventGroupRemoved  EventKind = "group-removed"
	EventJobBegan      EventKind = "job-began"
	EventJobEnded      EventKind = "job-ended"
	EventJobState      EventKind = "job-state" // it was paused, or runs again
)

// EventsMax bounds the events that an overview has: as many as a person reads.
const EventsMax = 64

// Event is one change between two overviews.
type Event struct {
	At   time.Time `json:"at"` // when it was seen
	Kind EventKind `json:"kind"`
	// Key is the same for one change whichever node tells of it, and another one for each change
	// but one that comes about again.
	Key  string `json:"key"`
	Text string `json:"text"`
	// Node, Group and Job are what it is about; "" and nil where it is about something else.
	Node  string `json:"node,omitempty"`
	Group *int   `json:"group,omitempty"`
	Job   string `json:"job,omitempty"`
	// State is the one that a job has come to; "" where the event is about something else.
	State string `json:"state,omitempty"`
}

// Changes returns what is otherwise in o than it was at a mark: nodes, groups and jobs, in that
// order. What came and went in between is not seen.
func Changes(was *Mark, o *Overview) []Event {
	c := changes{was: was, now: o}
	if len(was.Nodes) > 0 { // else the first overview is all news
		c.nodes()
		if !was.Cut && o.told {
			c.groups()
		}
		if o.tabled {
			c.jobs()
		}
	}
	c.verdict()
	return c.list
}

type changes struct {
	was  *Mark
	now  *Overview
	list []Event
}

// event is a change of an object, which is another one if state is.
func (c *changes) event(kind EventKind, object, state, format string, args ...any) *Event {
	c.list = append(c.list, Event{At: c.now.At, Kind: kind, Key: object + "/" + state, Text: fmt.Sprintf(format, args...)})
	return &c.list[len(c.list)-1]
}

func (c *changes) nodes() {
	was := make(map[string]MarkedNode)
	for _, n := range c.was.Nodes {
		was[n.ID] = n
	}
	for i := range c.now.Nodes {
		n := &c.now.Nodes[i]
		old, known := was[n.ID]
		delete(was, n.ID)
		event := func(kind EventKind, format string) {
			c.event(kind, "node/"+n.ID, fmt.Sprintf("%s/%d", n.Status, n.Start), format, n.Name).Node = n.Name
		}
		switch {
		case !known:
			event(EventNodeAdded, "node %s is a member")
		case n.Status == StatusUnknown || old.Status == StatusUnknown:
			// Nobody says, or said, how it is.
		case old.Status != statusDead && n.Status == statusDead:
			event(EventNodeLost, "node %s is dead")
		case old.Status == statusDead && n.Status != statusDead:
			event(EventNodeBack, "node %s is there again")
		case n.Start > old.Start && old.Start > 0:
			event(EventNodeRestarted, "node %s was started again")
		case old.Status != n.Status:
			c.event(EventNodeStage, "node/"+n.ID, fmt.Sprintf("%s/%d", n.Status, n.Start), "node %s is %s", n.Name, n.Status).Node = n.Name
		}
	}
	for _, n := range c.was.Nodes {
		if _, gone := was[n.ID]; gone {
			c.event(EventNodeRemoved, "node/"+n.ID, "removed", "node %s is no member any more", n.ID).Node = n.ID
		}
	}
}

func (c *changes) groups() {
	was := make(map[int]MarkedGroup)
	for _, g := range c.was.Groups {
		was[g.ID] = g
	}
	for i := range c.now.Groups {
		g := &c.now.Groups[i]
		old, known := was[g.ID]
		delete(was, g.ID)
		object := fmt.Sprintf("group/%d", g.ID)
		led := func(format string, args ...any) {
			c.event(EventLeader, object, fmt.Sprintf("%d/%s", g.Term, g.Leader), format, args...).Group = &g.ID
		}
		switch {
		case !known:
			c.event(EventGroupAdded, object, "added", "group %d is there", g.ID).Group = &g.ID
		case g.Leader == "" && old.Led:
			led("group %d has no leader", g.ID)
		case g.Leader != "" && (!old.Led || old.Leader != c.id(g.Leader)):
			led("node %s leads group %d, in term %d", g.Leader, g.ID, g.Term)
		}
	}
	for _, g := range c.was.Groups {
		if _, gone := was[g.ID]; gone {
			c.event(EventGroupRemoved, fmt.Sprintf("group/%d", g.ID), "removed", "group %d is no more", g.ID).Group = &g.ID
		}
	}
}

// id returns the id of the node of a name.
func (c *changes) id(name string) string {
	for i := range c.now.Nodes {
		if c.now.Nodes[i].Name == name {
			return c.now.Nodes[i].ID
		}
	}
	return name
}

// endings say how a job has ended, by its state.
var endings = map[string]string{
	shardmap.JobDone.String(): "is done", shardmap.JobFailed.String(): "has failed", shardmap.JobCancelled.String(): "was cancelled",
}

func (c *changes) jobs() {
	was := make(map[string]string)
	for _, j := range c.was.Jobs {
		was[j.ID] = j.State
	}
	for i := range c.now.Jobs {
		j := &c.now.Jobs[i]
		old, known := was[j.ID]
		event := func(kind EventKind, key, state, text string) {
			if j.Why != "" {
				text += ": " + j.Why
			}
			e := c.event(kind, "job/"+j.ID, key, "%s %s", j.What(), text)
			e.Job, e.State = j.ID, state
		}
		if !known {
			if j.ended() && c.was.newestJob() >= number(j.ID) {
				continue // it ended before
			}
			event(EventJobBegan, "began", stateRunning, "has begun")
			old = stateRunning
		}
		switch {
		case old == j.State:
		case j.ended():
			event(EventJobEnded, j.State, j.State, endings[j.State])
		default:
			event(EventJobState, j.State, j.State, "is "+j.State)
		}
	}
}

// verdict tells of another verdict, or another reason for it. What it says of time changes by
// itself.
func (c *changes) verdict() {
	about := aboutOf(c.now) // as a mark has it, or a long reason would be another one each time
	if c.was.Verdict == c.now.Verdict && (c.was.About == about || c.now.Verdict == VerdictOK) || c.was.Verdict == "" {
		return
	}
	c.event(EventVerdict, "verdict", string(c.now.Verdict)+"/"+about, "%s: %s", c.now.Verdict, c.now.Reason)
}
