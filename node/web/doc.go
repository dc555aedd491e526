// Package web is the door of a node for HTTP.
//
// It bounds what a connection that speaks HTTP may cost, decides for which host and in the name of which page a request
// may come, asks the node who makes it, and brings it to the handler of its path. It does not listen, knows no
// certificate, and has no way into the state: a handler gets a client of the cluster ([Opener]), and what that may do is
// decided where it is decided for all clients.
//
// # Duties of the node
//
//  1. Make a [Door] with [New], have [Door.Run] running, and end it with [Door.Close].
//  2. Hand each connection that begins with HTTP to [Door.Serve] as a [Visitor]. Over TLS its handshake is over. Serve
//     returns when the connection has ended; the node may close it at any time, which ends it.
//  3. Answer [Config.Identify] by what a request shows and by the rules of this moment, each time: what it has answered
//     before counts for nothing.
//
// # Goroutines
//
//	Door.Run     1, of the node: takes connections
//	Door.sweeps  1, of Run: ends answers that nobody reads; ends with it
//	net/http's   1 per connection, and 1 per request of HTTP/2; they end with the connection
//
// # Where to look
//
// door.go has the way of a request, visitor.go that of a connection; origin.go says whose pages may ask, limits.go what
// everything may cost, slow.go what happens to readers that don't read, served.go what is counted, answer.go how errors look, login.go the paths
// of logins. docs/security.md has the attacks.
package web
