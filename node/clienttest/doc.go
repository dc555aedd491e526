// Package clienttest starts clusters for the tests of programs that use one.
//
// The nodes are real: those of muster serve, in the process of the test, with scratch data and on free
// ports of loopback. One is ready in a third of a second, so each test may have its own. It has no clock
// of its own: a TTL of a second takes a second. It can't cut the network between nodes.
//
// In a test:
//
//	func TestCart(t *testing.T) {
//		c := clienttest.Start(t).Client()
//		… // c is a *client.Client, the cluster is empty, and all ends with the test
//	}
//
// [StartCluster] starts several nodes, which a test may stop, or kill, and start again: [Cluster.StopNode],
// [Cluster.KillNode].
// [New] is for a cluster that many tests share, from TestMain or an example.
//
// The program that is tested connects with [Cluster.Options]. It connects as one does to nodes that
// were started with --insecure, or, with [Options.TLS], over TLS as the first user of the cluster.
//
// # Goroutines
//
//	node  one per life of a node, with those that node starts: begun by StartNode, ended by StopNode, KillNode or Close
package clienttest
