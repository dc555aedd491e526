// Package queries carries out statements of InfluxQL over the shards of a cluster.
//
// It asks as the user of the client that it is given, so that each node decides by itself what that user may read or change.
// Nodes keep the list of what runs: [Cluster] asks them for it, and [Announce] puts a query on it that a client carries
// out. Packages shardmap/points/query and shardmap/points/statement decide what statements mean.
//
// # Goroutines
//
//	name       how many                     owner  ends when
//	run.ask    [AtOnce] at most of a query  run    all shards have answered, or the query ends
//	announce   1 per [Announce]             its caller  [Announced.Done]
//	ask        nodesAtOnce at most          Cluster     all nodes have answered, or nodePatience
//
// Start with run.go; shards.go asks shards, select.go, statements.go and delete.go carry out what there is.
package queries
