package raft

// Quiet says whether the group rests: [Group.Tick] is not needed until a call
// of Wake, of Step, or of anything that asks for something.
func (g *Group) Quiet() bool { return false }

// Wake ends the rest of a group. A leader sends heartbeats, a follower waits
// for them.
func (g *Group) Wake() {}
