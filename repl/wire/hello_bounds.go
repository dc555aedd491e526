package wire

import "fmt"

// Bounds of the texts of a hello, in bytes. Errors and log lines repeat these
// texts, and a stranger may send them: without bounds of their own, a hello of
// 4 KiB had answers of 16 KiB and log lines of 20.
const (
	// ClusterNameMax is the longest name of a cluster.
	ClusterNameMax = 63
	// AddrMax is the longest HOST:PORT: a name in DNS has 253 bytes at most.
	AddrMax = 253 + len(":65535")
)

// checkTexts refuses what the dialler may not call itself. Until it has been
// called, no text of the hello may be repeated.
func (h *Hello) checkTexts() *Error {
	for _, e := range []*Error{
		checkText("hello", "cluster", h.Cluster, ClusterNameMax),
		checkText("hello", "advertise", h.Advertise, AddrMax),
	} {
		if e != nil {
			return e
		}
	}
	return nil
}

// checkTexts is the same for what the acceptor at addr calls itself.
func (c *Challenge) checkTexts(addr string) *Error {
	if e := checkText("challenge of "+addr, "cluster", c.Cluster, ClusterNameMax); e != nil {
		return e
	}
	return checkText("challenge of "+addr, "advertise", c.Advertise, AddrMax)
}

// checkText refuses a text that is too long, or would not read as one word on a
// terminal and in a log. It does not repeat the text.
func checkText(object, field, text string, bytesMax int) *Error {
	const next = "send the text as it was given to muster serve"
	if len(text) > bytesMax {
		return BadRequest(object, fmt.Sprintf("field %s: %d bytes, want %d at most", field, len(text), bytesMax), next)
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return BadRequest(object, fmt.Sprintf("field %s: byte %d is 0x%02x, want printable ASCII without blanks", field, i, text[i]), next)
		}
	}
	return nil
}
