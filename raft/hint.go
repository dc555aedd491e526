package raft

// LeaderLost is a hint: the connection to the leader's node has closed.
func (g *Group) LeaderLost() {}

// LeaderBack takes the hint back: there is a connection to the leader's node
// again.
func (g *Group) LeaderBack() {}
