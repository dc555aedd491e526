package node

import (
	"syscall"
	"time"

	"muster/node/login"
	"muster/node/web"
	"muster/repl/rights"
	"muster/repl/wire"
	"muster/shardmap"
)

// limits is what others may cost this node. They are fields so that a test can lower
// them and reach them cheaply; the product runs with [defaultLimits].
type limits struct {
	// level is the newest level of commands that this build understands. It is
	// lower only in tests of clusters with members of several builds.
	level uint32
	// clients bounds the connections of clients, peers those of peers: a
	// flood of the one can't take the place of the other.
	clients, peers int
	// bulks bounds the connections over which peers send snapshots: each
	// other node needs one, for as long as it has some to send.
	bulks int
	// bulkSilence is how long such a connection may say nothing. Its sender
	// may wait for its disk.
	bulkSilence time.Duration
	// strangers bounds the connections that have not said hello yet, and
	// those whose refusal waits to be read. One more ends the oldest of
	// them: an honest one says hello within a round trip and is never the
	// oldest for long; a silent one soon is.
	strangers int
	// known bounds, in the same way, those that have shown by a mark that they are likely to be
	// members.
	known int
	// founders bounds, in the same way, those of hosts that look for others
	// to found a cluster with. Each of them has one, for one question.
	founders int
	// guests bounds, in the same way, those that have proven nothing, and may ask for a
	// certificate.
	guests int
	// visitors bounds, in the same way, the connections of HTTP that have asked for something and have not said who
	// asks: those that get the page, or log in. webs bounds those that have.
	visitors, webs int
	// web is what HTTP may cost otherwise.
	web web.Limits
	// envoys bounds the callers over HTTP for whom this node has a client of the cluster, and envoysOfUser those of
	// one user. outward bounds the connections that these clients make to other nodes.
	envoys, envoysOfUser, outward int
	// envoyIdle is after how long without a request such a client is closed.
	envoyIdle time.Duration
	// handshakes bounds how many handshakes of TLS of strangers are worked on at once.
	handshakes int
	// keyBytes is how many bytes a connection over TLS that this node has made carries in one direction
	// before it is replaced, and keyBytesEnd after how many one ends that it has accepted.
	keyBytes, keyBytesEnd int64
	// secure: hosts that are not started with --insecure speak TLS.
	secure bool
	// founderSilence is how long such a host may say nothing.
	founderSilence time.Duration
	// clientSilence is how long a client may say nothing. It bounds the age
	// of a frame that still arrives, and so how long the outcome of a write
	// must be remembered.
	clientSilence time.Duration
	// peerSilence is the same for a peer, which sends heartbeats.
	peerSilence time.Duration
	// inflightBytes bounds the requests of one connection that wait for
	// their answers, and the answers that wait to be read. At the limit the
	// node stops reading from it, and refuses to make large answers.
	inflightBytes int
	// inflightBytesAll bounds the same over all connections, except for
	// inflightBytesShare of each, which it always has: ten thousand greedy
	// connections can't use up the memory, nor stop a modest one.
	inflightBytesAll   int64
	inflightBytesShare int
	// waitingBytes bounds the requests that wait for their answers over all connections,
	// except for inflightBytesShare of each: 8,192 small ones. A node takes in at once what
	// has come, and hears what other nodes say after that, their heartbeats too. Four times
	// as many would be half a second of work for a node with half a core.
	waitingBytes int64
	// arrivingBytes bounds the buffers of frames that have not arrived
	// completely, except for inflightBytesShare of each connection: over all
	// clients, and over all peers.
	arrivingBytes int64
	// answerTimeout is how long the other side may take to read
	// answerPiece bytes of what was sent. A slow line may have much under
	// way; a peer that takes nothing is cut off.
	answerTimeout time.Duration
	// linger is how long the last words of a connection that this node ends
	// may take to be read.
	linger time.Duration
	// wait bounds how long a request is kept, whatever deadline its sender gave.
	// No client waits longer than it may be silent.
	wait time.Duration
	// noticePause lies between two lines of one kind about connections that
	// were refused, after the first few.
	noticePause time.Duration
	// trailHeads is after which time the cluster's table knows of new lines of the trail.
	trailHeads time.Duration
	// stallAfter is how long an operation of the disk may take before the disk
	// counts as stalled, and stopMax how long a node that stops waits for it.
	stallAfter, stopMax time.Duration
	// recheckPause is [recheckPause], shorter in tests.
	recheckPause time.Duration
	// passwordRounds is how often the password of each login is hashed at least.
	passwordRounds int
	// cutOffAfter is [rights.CutOffAfter], shorter in tests.
	cutOffAfter time.Duration
	// companyLook and companyGrace are the constants of those names, shorter in tests.
	companyLook, companyGrace time.Duration
}

func defaultLimits() limits {
	l := limits{
		level:   shardmap.Level,
		clients: 10_000, peers: 1_000, bulks: 256, strangers: 1_000, known: 1_000, founders: 2 * expectMax, guests: guestsDefault, handshakes: wire.HandshakesDefault(),
		visitors: 256, webs: 1_000, web: web.DefaultLimits(), envoys: 256, envoysOfUser: 32, outward: 1_000, envoyIdle: time.Minute,
		keyBytes: wire.KeyBytesMax, keyBytesEnd: wire.KeyBytesEnd,
		bulkSilence: 30 * time.Second, founderSilence: callTimeout,
		clientSilence: 60 * time.Second, peerSilence: 10 * time.Second,
		inflightBytes: 16 << 20, inflightBytesAll: 1 << 30, inflightBytesShare: 128 << 10,
		waitingBytes:  8192 * requestOverhead,
		arrivingBytes: 256 << 20,
		answerTimeout: 10 * time.Second, linger: time.Second,
		wait: 60 * time.Second, noticePause: time.Minute, trailHeads: time.Minute,
		stallAfter: stallAfter, stopMax: stopMax, recheckPause: recheckPause, passwordRounds: login.Rounds, cutOffAfter: rights.CutOffAfter,
		companyLook: companyLook, companyGrace: companyGrace,
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		l.fit(files.Cur)
	}
	return l
}

// over reports whether bytes are more than one connection may have in flight, while all
// connections together have held.
func (l *limits) over(bytes int, held int64) bool {
	return bytes > l.inflightBytes || bytes > l.inflightBytesShare && held > l.inflightBytesAll
}

// descriptorsKept is what this node needs for itself: its log, its connections
// to peers, its standard streams.
const descriptorsKept = 256

// guestsDefault is how many hosts and people may ask for a certificate at once.
const guestsDefault = 128

// fit lowers the limits of connections to what a process may have open: a connection
// that took the last descriptor would keep the log from its next segment, and a node
// that can't write its log stops.
func (l *limits) fit(descriptors uint64) {
	left := int(min(descriptors, 1<<30)) - descriptorsKept
	left = max(left, 8)
	l.strangers = min(l.strangers, left/4)
	l.known = min(l.known, left/8)
	l.peers = min(l.peers, left/4)
	l.bulks = min(l.bulks, left/8)
	l.founders = min(l.founders, left/16)
	l.guests = min(l.guests, left/16)
	l.visitors = min(l.visitors, left/32)
	l.webs = min(l.webs, max(left/32, 1))
	l.outward = min(l.outward, left/32)
	// What speaks for somebody over HTTP counts as a client, and takes no descriptor.
	l.clients = min(l.clients, left-l.strangers-l.known-l.peers-l.bulks-l.founders-l.guests-l.visitors-l.webs-l.outward)
}

const (
	// requestOverhead is how much a request counts in addition to its bytes. It is
	// more than the memory that it takes, some 600 bytes: requests are served in
	// the order in which they come, so other connections wait behind at most 4,096
	// small ones of this one.
	requestOverhead = 4 << 10
	// framesInARow is how many frames of one connection are handled before
	// others have their turn. Otherwise a flooding client would hold a processor
	// for the 10 ms of the scheduler, at each of the five goroutines that a write
	// passes through.
	framesInARow = 256
	// silenceParts: the deadline of a read is moved only by this part of the silence
	// that the other side may keep, or more.
	silenceParts = 16
	// answerPiece is how much is written at once, in bytes.
	answerPiece = 1 << 20
	// streamsAhead is how many bytes may wait to be sent on a connection when a
	// stream adds to them, those of pages that are being read included: enough to
	// keep a line busy while pages are read, and little for another answer to wait
	// behind. Invariant: the largest piece fits, or it would wait for ever.
	streamsAhead = max(1<<20, wire.StreamPieceMax)
	// lingerBytesMax bounds what is discarded while the last words are read: the
	// rest of a frame that was refused by its header.
	lingerBytesMax = 64 << 20
)
