// Package feed keeps overviews of a cluster for those who look at them.
//
// It judges nothing: package overview makes of the answers what is shown.
//
// A [Collector] asks all nodes at a pace while somebody looks, in the name of one user, and stops
// when nobody does. All who look in that name share its rounds, so that a hundred open pages cost
// the cluster what one does; two users share nothing, for one may be allowed to see what the other
// is not. A node that is dead or slow costs a round its patience, and is part of what is shown.
//
//	collector.go  asks, and hands out the newest overview
//	round.go      one round of questions
//	feed.go       the collectors of all users
//	http.go       what is served: one overview, and a stream of events
//
// # Goroutines
//
//	collect   one per [Collector] at which somebody looks, or looked within linger. Started by
//	          [Collector.Next]; ended by itself, by [Collector.Close] or [Feed.Close]
//	question  three per node that is asked, and one for the table, in each round; none outlives
//	          its round
package feed
