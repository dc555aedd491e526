package web

import "time"

// Limits is what HTTP may cost a node. They are fields so that a test can lower them; a node runs with [DefaultLimits].
type Limits struct {
	// HeaderBytes bounds the head of a request, in bytes: line, fields and, for HTTP/2, what is unpacked of them. A badge
	// has some 900, and the place in a stream of events to go on behind up to 12 KiB. net/http takes 4 KiB more before it
	// refuses.
	HeaderBytes int
	// HeaderTime is how long the head may take from its first byte, and for the first request from when the connection
	// was handed over.
	HeaderTime time.Duration
	// BodyBytes bounds the body of a request to the API, in bytes: the largest value there can be, 16 MiB, as base64 in
	// JSON. SmallBytes bounds any other.
	BodyBytes, SmallBytes int64
	// BodyTime is how long a body may take.
	BodyTime time.Duration
	// BodiesBytes bounds the bodies of more than SmallBytes that arrive at once, over all connections.
	BodiesBytes int64
	// IdleTime is how long a connection may wait for its next request.
	IdleTime time.Duration
	// Streams bounds the requests of one connection at once, which are streams of HTTP/2; of HTTP/1.1 there is one.
	// net/http queues four times as many, and ends a connection that asks for more and takes it back.
	Streams int
	// WriteTime is how long a reader may take nothing of an answer that waits for it.
	WriteTime time.Duration
}

// DefaultLimits are those of a node.
func DefaultLimits() Limits {
	return Limits{
		HeaderBytes: 32 << 10, HeaderTime: 2 * time.Second,
		BodyBytes: 24 << 20, SmallBytes: 4 << 10, BodyTime: 30 * time.Second, BodiesBytes: 128 << 20,
		IdleTime: time.Minute, Streams: 64, WriteTime: 10 * time.Second,
	}
}
