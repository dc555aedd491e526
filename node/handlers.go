package node

import (
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// handler is what this node does with a frame of one type. It has one of these
// functions, depending on what the frame is.
type handler struct {
	// request answers a question under its number, now or later. The body is
	// valid until it returns.
	request func(c *connection, h wire.Header, r repl.Reply, body []byte)
	// word takes what a member says and no answer follows under its number. It
	// counts only once the member has said that the connection is its own: until
	// then it is kept ([connection.unsettled]). An error ends the connection.
	word func(c *connection, h wire.Header, body []byte) error
	// stream takes what a client says about a stream that it has open; only the
	// stream answers that.
	stream func(c *connection, h wire.Header, body []byte)
	// chunk takes a frame of a connection for snapshots, and returns the answer and its type. It
	// may wait for the disk, because nothing else comes over that connection.
	chunk func(n *Node, from raft.NodeID, own *claimant, body []byte) (wire.Type, wire.Body, error)
	// flags are those that a request of the type may have.
	flags uint16
}

// handlers has a row for each type that [wire.Type.Senders] lets somebody send,
// and none for any other.
var handlers = [...]handler{
	wire.TypePing: {request: asking(answerPing)},

	wire.TypePreVote:         {word: hearEnvelope},
	wire.TypePreVoteAnswer:   {word: hearEnvelope},
	wire.TypeVote:            {word: hearEnvelope},
	wire.TypeVoteAnswer:      {word: hearEnvelope},
	wire.TypeAppend:          {word: hearAppend},
	wire.TypeAppendAnswer:    {word: hearEnvelope},
	wire.TypeBeat:            {word: hearBeat},
	wire.TypeBeatAnswer:      {word: hearBeatAnswer},
	wire.TypeReadIndex:       {word: hearEnvelope},
	wire.TypeReadIndexAnswer: {word: hearEnvelope},
	wire.TypeTimeoutNow:      {word: hearEnvelope},
	wire.TypeTransferVote:    {word: hearEnvelope},
	wire.TypeQuiet:           {word: hearEnvelope},

	wire.TypeChecks: {request: takeChecks},

	wire.TypeAuditReport:  {word: toLoop((*repl.Loop).ReceiveAuditReport)},
	wire.TypeAuditVerdict: {word: toLoop((*repl.Loop).ReceiveAuditVerdict)},

	wire.TypeFounding:        {request: (*connection).founding},
	wire.TypeAnnounce:        {request: (*connection).announce},
	wire.TypeRepair:          {word: toLoop((*repl.Loop).ReceiveRepair)},
	wire.TypeRepairAnswer:    {word: hearRepairAnswer},
	wire.TypeChunk:           {chunk: takeChunk},
	wire.TypeSnapshotRequest: {word: toLoop((*repl.Loop).ReceiveSnapshotRequest)},
	wire.TypeLifeQuestion:    {word: toLoop((*repl.Loop).ReceiveLifeQuestion)},
	wire.TypeLifeAnswer:      {word: toLoop((*repl.Loop).ReceiveLifeAnswer)},
	wire.TypeAttest:          {request: (*connection).attest},
	wire.TypeAddresses:       {word: hearAddresses},
	wire.TypeForward:         {request: takeForward},

	wire.TypeWrite:    {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeGet:      {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeList:     {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeTopology: {request: answerTopology},

	wire.TypeScan:         {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeStreamGrant:  {stream: hearGrant},
	wire.TypeStreamCancel: {stream: hearCancel},
	wire.TypeWatch:        {request: (*connection).take},

	wire.TypeStep:     {request: takeStep},
	wire.TypeSlotView: {request: (*connection).take, flags: wire.FlagForward},

	wire.TypeTableStream: {request: (*connection).take},
	wire.TypeLeases:      {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeServices:    {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeHeartbeat:   {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeBackup:      {request: (*connection).take, flags: wire.FlagForward},
	wire.TypeHistory:     {request: (*connection).take, flags: wire.FlagForward},
	wire.TypePointsQuery: {request: (*connection).take, flags: wire.FlagForward},

	wire.TypeStatus:   {request: asking(answerStatus)},
	wire.TypeCounters: {request: asking(answerCounters)},
	wire.TypeLogRange: {request: answerLogRange},
	wire.TypeDoctor:   {request: asking(answerDoctor)},
	wire.TypeCheck:    {request: answerCheck},

	wire.TypeTrail: {request: answerTrail},

	wire.TypeInvite:   {request: takeInvite},
	wire.TypeJoin:     {request: takeJoin},
	wire.TypeTable:    {request: asking(answerTable)},
	wire.TypeReplicas: {request: asking(answerReplicas)},
	wire.TypeChange:   {request: takeChange},
	wire.TypeOrder:    {request: takeOrder},
	wire.TypeAddNodes: {request: takeAddNodes},

	wire.TypeEnrol:     {request: takeEnrol},
	wire.TypeRenew:     {request: takeRenew},
	wire.TypeKeep:      {request: takeKeep},
	wire.TypeLogin:     {request: takeLogin},
	wire.TypeWhoami:    {request: asking(answerWhoami)},
	wire.TypeCanI:      {request: answerCanI},
	wire.TypeUsage:     {request: takeUsage},
	wire.TypeHolds:     {request: takeHolds},
	wire.TypeAuthority: {request: takeAuthority},
	wire.TypeReset:     {request: takeReset},
	wire.TypeBackups:   {request: takeBackups},

	wire.TypeWindow:     {request: takeWindow},
	wire.TypeQueries:    {request: takeQueries},
	wire.TypeClock:      {request: asking(answerClock)},
	wire.TypeBlockRange: {chunk: takeBlockRange},

	wire.TypeHint:    {request: takeHint},
	wire.TypeHints:   {request: takeHints},
	wire.TypeDurable: {request: takeDurable},
}

// handlerOf returns the row of type t; one without a way if nobody may send it.
func handlerOf(t wire.Type) *handler {
	if int(t) >= len(handlers) {
		return &handlers[0]
	}
	return &handlers[t]
}

// answerPing answers a member only once its cores count as speaking over the connection, which its pings
// come over: then the one that this one replaces may end.
func answerPing(c *connection, r repl.Reply) {
	if c.claim != nil {
		if own, settled := c.claim.state(); settled && own {
			coreLoop(c)
		}
	}
	c.answerNow(r, wire.TypePong, new(wire.Empty).Append(nil))
}

// asking handles a question whose type is all that it says.
func asking(answer func(c *connection, r repl.Reply)) func(*connection, wire.Header, repl.Reply, []byte) {
	return func(c *connection, h wire.Header, r repl.Reply, body []byte) {
		if err := new(wire.Empty).Read(body); err != nil {
			c.refuse(r, wire.BadBody(h.Type, err))
			return
		}
		answer(c, r)
	}
}
