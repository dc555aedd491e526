package cmd

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// A plan over HTTP. A command that wants consent shows its plan and asks; a request can't be asked, so it is answered
// with the plan and a token, and the request that carries the plan out has that token. The token is a digest of what
// the plan does, not of its words: of each order, its steps and their risks. The command makes its plan anew then, and
// goes on only if that has the same digest. The order itself names the index of the table of the new plan, so the
// leader refuses it if the plan becomes another one after that. A plan that is made of what changes all the time, as of
// how much is in the slots, goes along in its token.
//
// A token is no secret and no permission: with one that is made up a user may do no more than without plans.

// agreement is how a request agrees to plans.
type agreement struct {
	command string
	only    bool   // the plan alone is asked for
	token   string // of the plan that is agreed to; "": none
	shown   []*proposal
	settled bool // what was shown is what the token stands for; what follows belongs to it
	stale   bool // it is not
}

// bugStalePlan is planted to show that its test finds it: a token counts whatever the plan is by now.
const bugStalePlan = "plan tokens count for other plans"

func (call *apiCall) proposed(p *proposal) {
	if !call.agreement.settled {
		call.agreement.shown = append(call.agreement.shown, p)
	}
}

// agrees reports whether the request agrees to what was shown.
func (call *apiCall) agrees() bool {
	a := &call.agreement
	switch {
	case a.settled:
	case a.only || a.token == "":
		return false
	default:
		a.settled = a.token == a.made() || bug(bugStalePlan)
		a.stale = !a.settled
	}
	return a.settled
}

// asksForPlan reports whether the request is about a plan, also of a command that needs none. It is false of a nil
// call, a command line.
func (call *apiCall) asksForPlan() bool {
	return call != nil && (call.agreement.only || call.agreement.token != "")
}

// wantsConsent reports whether the request is about a plan, and has not agreed to one yet: nothing may be changed.
func (call *apiCall) wantsConsent() bool { return call.asksForPlan() && !call.agreement.settled }

// carried is what the token of a request brings along; "" if it does not, and of a nil call, a command line.
func (call *apiCall) carried() string {
	if call == nil {
		return ""
	}
	_, carried, _ := strings.Cut(call.agreement.token, ".")
	return carried
}

// made is the token of the plans that were shown: their digest, and what one of them carries.
func (a *agreement) made() string {
	token := a.digest()
	for _, p := range a.shown {
		if p.carries != "" {
			token += "." + p.carries
		}
	}
	return token
}

// digest is a digest of the plans that were shown.
func (a *agreement) digest() string {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.AppendUvarint(nil, uint64(len(b))))
		h.Write(b)
	}
	part([]byte(a.command))
	for _, p := range a.shown {
		for _, b := range p.binds {
			part(b)
		}
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// planRow is a plan in an answer.
type planRow struct {
	Index uint64   `json:"index"` // of the table that it was made for; 0: it is not about the table
	Lines []string `json:"lines"`
	Token string   `json:"token"` // empty: there is nothing to carry out
}

type plannedRow struct {
	Plan *planRow `json:"plan"`
}

// row is the plan for an answer. Where there is none, the notes of the command say why.
func (a *agreement) row(notes []string) *planRow {
	row := &planRow{Lines: []string{}}
	for _, p := range a.shown {
		row.Index = max(row.Index, p.index)
		row.Lines = append(row.Lines, p.lines...)
	}
	if len(a.shown) == 0 {
		row.Lines = append(row.Lines, notes...)
		return row
	}
	row.Token = a.made()
	return row
}
