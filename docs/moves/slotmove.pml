/* How one slot moves between groups, for spin. docs/moves.md explains it and has the results.
 *
 * A group is a log, and here the log is all there is of it: to deliver a message is to commit one entry, and
 * the guards run when the entry is applied. Group 0 is a log too (mv, canc, owner).
 *
 * A runner owns no state. It builds a message from what the three logs say now, and the message commits at
 * once, later, several times or never: b0 and b1 hold messages that are on their way, each is delivered as often
 * as spin likes, and one that is overwritten is lost. So beside the runner that acts at once there are two
 * stale ones; a crash is a step that is not taken, and a group without a majority is a delay.
 *
 * A streamer does own something: the copy of the slot behind its attempt. It sends without waiting for answers.
 * Each new leader of the source begins an attempt, and the streamers of older attempts don't know it and go on.
 *
 * A slot's content is the set of writes it has seen (with their outcomes). While a move lasts, the content at the
 * source only grows, so it stands for the source's log id; whether a pass was copied behind the seal is a bit.
 *
 * In every state the faults may stop (finish): one healthy runner must then bring everything to an end.
 *
 * OUT=x in the environment of pan takes one guard or one condition of the runner out, or plants a bug: ./check has the list.
 * Bounds: NM moves of one slot among three groups, NW writes, NA attempts for each move, NI pieces for each attempt. */
#ifndef NM
#define NM 2
#endif
#ifndef NW
#define NW 1
#endif
#ifndef NA
#define NA 2
#endif
#ifndef NI
#define NI 3
#endif
#ifndef LATE
#define LATE 2
#endif

/* what a group holds of the slot */
#define NOTHING 0
#define OWNED   1
#define SEALED  2
/* a move at group 0; 0 is: not begun */
#define OPEN    1
#define TAKEN   2	/* recorded */
#define CLOSED  3
/* decision N in the target's log; 0 is: none, or forgotten */
#define TOOK    1
#define REFUSED 2
/* a piece of a pass */
#define WHOLE   0
#define FIRST   1	/* more follow */
#define LAST    2

#define mSEAL    1
#define mCANCEL  2
#define mCHUNK   3
#define mTAKE    4
#define mREFUSE  5
#define mUNSEAL  6
#define mDROP    7
#define mRECORD  8
#define mCLOSE   9
#define mFORGET  10

/* replay.pml, which follows moves of the simulator, has more of all */
#ifndef REPLAY
#define NG 3
#define CONTENT byte
#define COUNT   byte
#define ALLBITS 255
#endif

/* groups */
byte st[NG], sealN[NG], mark[NG];
CONTENT D[NG];
byte impN[NG], impA[NG];			/* the import: number, attempt */
COUNT   impI[NG];				/* pieces taken */
CONTENT impD[NG], impB[NG], impT[NG];		/* content; that behind the last whole pass; that behind the pass under way */
bit  impP[NG], impZ[NG];			/* a pass is under way; the last whole pass was copied behind the seal */
bit  rem[NG], inc[NG];				/* removed; made anew */
/* moves */
byte mv[NM+1], src[NM+1], dst[NM+1], dec[NM+1], owner;
bit  canc[NM+1], srcI[NM+1], dstI[NM+1];	/* cancelled; the incarnations of its groups */
/* streamers, one for each attempt of each move */
#define STREAM(n,a) ((n)*NA+(a)-1)
byte att[NM+1];					/* attempts begun */
byte sI[(NM+1)*NA], sF[(NM+1)*NA], sT[(NM+1)*NA];	/* next index, content behind it, moment of the pass under way */
bit  sP[(NM+1)*NA], sZ[(NM+1)*NA];		/* a pass is under way; moment or base is behind the seal */
/* clients */
byte acked;
CONTENT O[NG];					/* the outcomes: what D is, but with BUG_OUTCOMES */
/* ghosts: only assertions look at them */
CONTENT sealD[NM+1];
bit  took[NM+1], unsl[NM+1];
/* messages on their way */
int  b0, b1;
bit  over;

/* The guards and the conditions of the runner that can be taken out, and the bugs that can be planted: pan reads OUT. */
byte out;
#define NO_INCARNATION    1
#define NO_SEALMARK       2
#define NO_CANCELMARK     3
#define NO_CHUNKMARK      4
#define NO_TAKEMARK       5
#define NO_REFUSEMARK     6
#define NO_NOTHING        7
#define NO_HIGHER         8
#define NO_ATTEMPT        9
#define NO_NEXT          10
#define NO_FROM          11
#define NO_AT            12
#define NO_COUNT         13
#define NO_DIGEST        14
#define NO_UNSEALNUMBER  15
#define NO_DROPNUMBER    16
#define NO_RECORDOPEN    17
#define NO_CLOSEKIND     18
#define NO_DISCARD       19
#define NO_REFUSEALWAYS  20
#define NO_CLOSEWAIT     21
#define NO_FORGETCLOSED  22
#define NO_BEGINWAIT     23
#define NO_REMOVEWAIT    24
#define NO_EMPTY         25
#define NO_SEALOWNED     26
#define BUG_TWODECIDERS  30
#define BUG_DROPEARLY    31
#define BUG_TAKEEARLY    32
#define BUG_WRITESEALED  33
#define BUG_READSEALED   34
#define BUG_OUTCOMES     35
#define BUG_FORGETMARK   36
#define BUG_DROPMARK     37
#define BUG_LOSSY        38	/* a streamer forgets a part */
#define BUG_LOSSYNODIGEST 39	/* and the target doesn't compare digests */

#define SRCUP(n) (!rem[src[n]] && (out==NO_INCARNATION || inc[src[n]]==srcI[n]))
#define DSTUP(n) (!rem[dst[n]] && (out==NO_INCARNATION || inc[dst[n]]==dstI[n]))
#define gSEALMARK(n)   (out==NO_SEALMARK   || (n)>mark[src[n]])
#define gCANCELMARK(n) (out==NO_CANCELMARK || (n)>mark[src[n]])
#define gCHUNKMARK(n)  (out==NO_CHUNKMARK  || (n)>mark[dst[n]])
#define gTAKEMARK(n)   (out==NO_TAKEMARK   || (n)>mark[dst[n]])
#define gREFUSEMARK(n) (out==NO_REFUSEMARK || (n)>mark[dst[n]])
#define gNOTHING(n)    (out==NO_NOTHING    || st[dst[n]]==NOTHING)
#define gHIGHER(n)     ((n)>impN[dst[n]] || ((n)==impN[dst[n]] && (out==NO_HIGHER || a>impA[dst[n]])))
#define gATTEMPT(n)    (out==NO_ATTEMPT || a==impA[dst[n]])
#define gNEXT(n)       (out==NO_NEXT    || i==impI[dst[n]])
#define gFROM(n)       (out==NO_FROM || (f==impB[dst[n]] && (!impP[dst[n]] || t==impT[dst[n]])))
#define gAT(n)         (out==NO_AT      || out==BUG_TAKEEARLY || (z && impZ[dst[n]] && !impP[dst[n]]))
#define gCOUNT(n)      (out==NO_COUNT   || out==BUG_TAKEEARLY || impI[dst[n]]==i)
#define gDIGEST(n)     (out==NO_DIGEST  || out==BUG_TAKEEARLY || out==BUG_LOSSYNODIGEST || impD[dst[n]]==t)
#define gUNSEAL(n)     (st[src[n]]==SEALED && (out==NO_UNSEALNUMBER || sealN[src[n]]==(n)))
#define gDROP(n)       (st[src[n]]==SEALED && (out==NO_DROPNUMBER   || sealN[src[n]]==(n)))
#define gRECORD(n)     (out==NO_RECORDOPEN || mv[n]==OPEN)
#define gCLOSE(n)      ((mv[n]==TAKEN && (out==NO_CLOSEKIND || i==TOOK)) || (mv[n]==OPEN && (out==NO_CLOSEKIND || i==REFUSED)))
#define LOSSY          (out==BUG_LOSSY || out==BUG_LOSSYNODIGEST)
#define gSEALOWNED(n)  (st[src[n]]==OWNED || (out==NO_SEALOWNED && st[src[n]]==NOTHING))
#define gEMPTY(n)      (!EMPTY || out==NO_EMPTY || BARE(n))
/* slot assign: a seal that applies only to an empty slot */
#ifndef REPLAY
#ifdef EMPTYMOVES
#define EMPTY 1
#else
#define EMPTY 0
#endif
#define BARE(n) (D[src[n]]==0)
#endif

inline raise(g) {
  if
  :: n>mark[g] -> mark[g]=n
  :: else -> skip
  fi
}
inline discard(g) { impN[g]=0; impA[g]=0; impI[g]=0; impD[g]=0; impB[g]=0; impT[g]=0; impP[g]=0; impZ[g]=0 }
/* what a piece does to the import: the difference from f to t, or its part of it */
#define PART(x) ((x) & (p==WHOLE -> ALLBITS : (p==FIRST -> 1 : ALLBITS-1)))
inline take_piece(g) {
  impD[g] = (impD[g] & (ALLBITS-PART(f&(ALLBITS-t)))) | PART(t&(ALLBITS-f));
  impI[g] = i+1;
  impP[g] = (p==FIRST);
  impZ[g] = (p!=FIRST && z);
  impB[g] = (p==FIRST -> impB[g] : t);
  impT[g] = (p==FIRST -> t : 0);
  assert(p==FIRST || LOSSY || impD[g]==t)	/* behind a whole pass the import is what the source was */
}

/* Behind the target's decision no piece and no takeover of the move can apply, since the mark is there: its streamers
 * make no difference any more. This and purge merge states that nothing can ever tell apart. The arguments rest on
 * the guards, so a model without one of its guards goes without them. */
inline retire() {
  if
#ifndef REPLAY
  :: out==0 -> att[n]=0;
     j=STREAM(n,1);
     do
     :: j<=STREAM(n,NA) -> sI[j]=0; sF[j]=0; sT[j]=0; sP[j]=0; sZ[j]=0; j=j+1
     :: else -> break
     od;
     j=0
#endif
  :: else -> skip
  fi
}

/* One entry is applied: k, n, and of a chunk a, i, f, t, p, z; of a takeover i (count), t (digest) and z (at the
 * seal's log id); of a close i (as what). done tells whether it took effect. */
inline deliver() {
  if
  :: k==mSEAL && SRCUP(n) && gSEALOWNED(n) && gSEALMARK(n) && gEMPTY(n) ->
     assert(!EMPTY || BARE(n));
     st[src[n]]=SEALED; sealN[src[n]]=n; raise(src[n]); sealD[n]=D[src[n]]; done=1
  :: k==mCANCEL && SRCUP(n) && gCANCELMARK(n) && st[src[n]]!=NOTHING ->
     mark[src[n]]=n; done=1
  :: k==mCHUNK && DSTUP(n) && gCHUNKMARK(n) && gNOTHING(n) && i==0 && gHIGHER(n) ->
     assert(n>impN[dst[n]] || a>impA[dst[n]]);	/* an import never goes back, else late pieces could hold it up for ever */
     discard(dst[n]); impN[dst[n]]=n; impA[dst[n]]=a; take_piece(dst[n]); done=1
  :: k==mCHUNK && DSTUP(n) && gCHUNKMARK(n) && gNOTHING(n) && i>0 && impN[dst[n]]==n && gATTEMPT(n) && gNEXT(n) && gFROM(n) ->
     take_piece(dst[n]); done=1
  :: k==mTAKE && DSTUP(n) && gTAKEMARK(n) && impN[dst[n]]==n && gAT(n) && gCOUNT(n) && gDIGEST(n) ->
     assert(!unsl[n]);			/* one decider */
     assert(impD[dst[n]]==sealD[n]);	/* the target begins with exactly what the source had at the seal */
     assert(st[dst[n]]==NOTHING);
     st[dst[n]]=OWNED; D[dst[n]]=impD[dst[n]]; O[dst[n]]=(out==BUG_OUTCOMES -> 0 : D[dst[n]]);
     raise(dst[n]); dec[n]=TOOK; took[n]=1; discard(dst[n]); done=1; retire()
  :: k==mREFUSE && DSTUP(n) && gREFUSEMARK(n) ->
     raise(dst[n]); dec[n]=REFUSED; done=1; retire();
     if
     :: out!=NO_DISCARD && impN[dst[n]]<=n -> discard(dst[n])
     :: else -> skip
     fi
  :: k==mUNSEAL && SRCUP(n) && gUNSEAL(n) ->
     assert(!took[sealN[src[n]]]);	/* one decider */
     unsl[sealN[src[n]]]=1; st[src[n]]=OWNED; sealN[src[n]]=0; done=1
  :: k==mDROP && SRCUP(n) && gDROP(n) ->
     assert(took[sealN[src[n]]]);	/* the source deletes nothing that the target doesn't have */
     st[src[n]]=NOTHING; sealN[src[n]]=0; D[src[n]]=0; O[src[n]]=0; done=1;
     if
     :: out==BUG_DROPMARK -> mark[src[n]]=0
     :: else -> skip
     fi
  :: k==mRECORD && gRECORD(n) ->
     owner=dst[n]; done=1;
     if
     :: mv[n]==OPEN -> mv[n]=TAKEN
     :: else -> skip
     fi
  :: k==mCLOSE && gCLOSE(n) ->
     mv[n]=CLOSED; done=1
  :: k==mFORGET && DSTUP(n) && dec[n] ->
     dec[n]=0; done=1;
     if
     :: out==BUG_FORGETMARK && mark[dst[n]]==n -> mark[dst[n]]=0
     :: else -> skip
     fi
  :: else -> skip
  fi
}

#ifdef REPLAY
#define EACH(x,op) (x(0) op x(1) op x(2) op x(3) op x(4) op x(5) op x(6) op x(7))
#else
#define EACH(x,op) (x(0) op x(1) op x(2))
#endif
#define OWNS(g)  (st[g]==OWNED)
#define READS(g) (OWNS(g) || (out==BUG_READSEALED && st[g]==SEALED))
#define SEES(g)  (!READS(g) || (acked|D[g])==D[g])
#define APART(g) (impN[g]==0 || st[g]==NOTHING)
inline check() {
  assert(EACH(OWNS,+) <= 1);
  assert(EACH(SEES,&&));	/* a linearizable read sees all that is acknowledged */
  assert(EACH(APART,&&))	/* an import is never beside a slot that is owned or sealed */
}

/* When a runner that reads the logs now proposes (k, n). */
#define SEALEDBY(n) (SRCUP(n) && st[src[n]]==SEALED && sealN[src[n]]==(n))
#define SRCDONE(n)  (SRCUP(n) && mark[src[n]]>=(n) && !SEALEDBY(n))
#define cSEAL(n)    (mv[n]==OPEN && !canc[n] && SRCUP(n) && st[src[n]]==OWNED && (n)>mark[src[n]])
#define cCANCEL(n)  (mv[n]==OPEN && canc[n] && SRCUP(n) && (n)>mark[src[n]])
#define cREFUSE(n)  (mv[n]==OPEN && canc[n] && dec[n]==0 && DSTUP(n) && SRCUP(n) && mark[src[n]]>=(n) && (out!=NO_REFUSEALWAYS || SEALEDBY(n)))
#define cUNSEAL(n)  (SEALEDBY(n) && DSTUP(n) && (dec[n]==REFUSED || (out==BUG_TWODECIDERS && canc[n])))
#define cDROP(n)    (SEALEDBY(n) && DSTUP(n) && (dec[n]==TOOK || (out==BUG_DROPEARLY && impN[dst[n]]==(n) && impZ[dst[n]])))
#define cRECORD(n)  (mv[n]==OPEN && dec[n]==TOOK && DSTUP(n))
#define cCLOSE(n)   ((SRCDONE(n) || out==NO_CLOSEWAIT) && (mv[n]==TAKEN || (mv[n]==OPEN && (dec[n]==REFUSED || (out==NO_REFUSEALWAYS && dec[n]==0 && canc[n])))))
#define CLOSEAS(n)  (mv[n]==TAKEN -> TOOK : REFUSED)
#define cFORGET(n)  ((mv[n]==CLOSED || (out==NO_FORGETCLOSED && mv[n]==TAKEN)) && dec[n] && DSTUP(n))
/* A group that is in a move which is not closed is not removed. */
#define INMOVE(g,n) (mv[n]>0 && mv[n]<(out==NO_REMOVEWAIT -> TAKEN : CLOSED) && (src[n]==g || dst[n]==g))
#ifndef REPLAY
#define RUNNER(n_) \
  :: d_step { cSEAL(n_)   -> n=n_; k=mSEAL } \
  :: d_step { cCANCEL(n_) -> n=n_; k=mCANCEL } \
  :: d_step { cREFUSE(n_) -> n=n_; k=mREFUSE } \
  :: d_step { cUNSEAL(n_) -> n=n_; k=mUNSEAL } \
  :: d_step { cDROP(n_)   -> n=n_; k=mDROP } \
  :: d_step { cRECORD(n_) -> n=n_; k=mRECORD } \
  :: d_step { cCLOSE(n_)  -> n=n_; k=mCLOSE; i=CLOSEAS(n_) } \
  :: d_step { cFORGET(n_) -> n=n_; k=mFORGET }

/* A streamer sends a piece as long as one can matter: while the target has not decided. A pass goes in one piece, or in
 * two between which the source goes on; behind the pass that was copied behind the seal comes the takeover, with the
 * streamer's own count. */
#define UNDECIDED(n) (mv[n]==OPEN && gCHUNKMARK(n) && gTAKEMARK(n) && DSTUP(n) && SRCUP(n) && st[src[n]]!=NOTHING)
#define SENDING(n,q_) (UNDECIDED(n) && sI[q_]<NI)
#define cPASS(n,q_)  (SENDING(n,q_) && !sP[q_] && !sZ[q_] && (sI[q_]==0 || SEALEDBY(n) || sF[q_]!=D[src[n]]))
#define cREST(n,q_)  (SENDING(n,q_) && sP[q_])
#define cTAKE(n,q_)  (UNDECIDED(n) && ((SEALEDBY(n) && sZ[q_] && !sP[q_]) || (out==BUG_TAKEEARLY && sI[q_])))
#define PIECE        k=mCHUNK; i=sI[q]; f=sF[q]; sI[q]=i+1
#define MOMENT       t=(LOSSY -> 0 : D[src[n]]); z=SEALEDBY(n); sZ[q]=z
#define STREAMER(n_,a_) \
  :: d_step { att[n_]>=a_ && cPASS(n_,STREAM(n_,a_)) -> n=n_; a=a_; q=STREAM(n,a); PIECE; p=WHOLE; MOMENT; sF[q]=t } \
  :: d_step { att[n_]>=a_ && cPASS(n_,STREAM(n_,a_)) -> n=n_; a=a_; q=STREAM(n,a); PIECE; p=FIRST; MOMENT; sT[q]=t; sP[q]=1 } \
  :: d_step { att[n_]>=a_ && cREST(n_,STREAM(n_,a_)) -> n=n_; a=a_; q=STREAM(n,a); PIECE; p=LAST; t=sT[q]; z=sZ[q]; sF[q]=t; sT[q]=0; sP[q]=0 } \
  :: d_step { att[n_]>=a_ && cTAKE(n_,STREAM(n_,a_)) -> n=n_; k=mTAKE; i=sI[STREAM(n,a_)]; t=D[src[n]]; z=1 }
/* a new leader of the source, or one that starts over */
#define ATTEMPT(n_) \
  :: d_step { !over && UNDECIDED(n_) && att[n_]<NA && (att[n_]==0 || sI[STREAM(n_,(att[n_]==0 -> 1 : att[n_]))]) -> att[n_]=att[n_]+1 }

/* Messages on their way. */
inline clear() { k=0; n=0; a=0; i=0; f=0; t=0; p=0; z=0; q=0; done=0 }
#define MSG (k+16*(n+4*(a+4*(i+8*(f+4*(t+4*(p+4*z)))))))
inline unpack(b) {
  x=b; k=x%16; x=x/16; n=x%4; x=x/4; a=x%4; x=x/4; i=x%8; x=x/8; f=x%4; x=x/4; t=x%4; x=x/4; p=x%4; z=x/4; x=0
}
/* A message that can never again take effect is as good as lost; and of a move that is closed and forgotten none can, so
 * nobody looks at its row again. */
#define DEAD \
  ( ((k==mSEAL || k==mCANCEL) && (!SRCUP(n) || n<=mark[src[n]])) \
 || ((k==mCHUNK || k==mTAKE || k==mREFUSE) && (!DSTUP(n) || n<=mark[dst[n]])) \
 || (k==mCHUNK && (impN[dst[n]]>n || (impN[dst[n]]==n && (a<impA[dst[n]] || (a==impA[dst[n]] && i<impI[dst[n]]))))) \
 || ((k==mUNSEAL || k==mDROP) && !SEALEDBY(n)) \
 || (k==mRECORD && mv[n]!=OPEN) || (k==mCLOSE && mv[n]==CLOSED) || (k==mFORGET && dec[n]==0) )
inline settle(n_) {
  if
  :: mv[n_]==CLOSED && dec[n_]==0 -> src[n_]=0; dst[n_]=0; srcI[n_]=0; dstI[n_]=0; canc[n_]=0; sealD[n_]=0; took[n_]=0; unsl[n_]=0
  :: else -> skip
  fi
}
inline purge() {
  if
  :: out==0 ->
     unpack(b0);
     b0=(b0 && DEAD -> 0 : b0);
     unpack(b1);
     b1=(b1 && DEAD -> 0 : b1);
     settle(1); settle(2); settle(NM)
  :: else -> skip
  fi;
  clear();
  /* which of the two is which makes no difference */
  b1=(b0==b1 -> 0 : b1);
  if
  :: b0<b1 -> x=b0; b0=b1; b1=x; x=0
  :: else -> skip
  fi
}

/* Group 0 begins a move from the table's owner once the last is recorded or closed, and cancels. */
#define FREE(n) ((n)==1 || mv[(n)-1]>=TAKEN || (out==NO_BEGINWAIT && mv[(n)-1]==OPEN))
#define BEGIN(n_,g) \
  :: d_step { !over && mv[n_]==0 && FREE(n_) && owner!=g && !rem[g] && ((n_)>1 || g==1) -> \
       mv[n_]=OPEN; src[n_]=owner; dst[n_]=g; srcI[n_]=inc[owner]; dstI[n_]=inc[g] }
#define META(n_) \
  BEGIN(n_,0) BEGIN(n_,1) BEGIN(n_,2) ATTEMPT(n_) \
  :: d_step { !over && mv[n_]==OPEN && !canc[n_] -> canc[n_]=1 }

/* A write of a client, new or tried again, late or not, reaches a group; the answer comes, or is lost. */
#define ADMITS(g) (st[g]==OWNED || (out==BUG_WRITESEALED && st[g]==SEALED))
#define WRITE(w,g) \
  :: d_step { !over && ADMITS(g) && !(O[g]&w) -> assert(!(D[g]&w)); D[g]=D[g]|w; O[g]=O[g]|w; check() } \
  :: d_step { !over && ADMITS(g) && (O[g]&w) && !(acked&w) -> acked=acked|w; check() }
#define WRITES(w) WRITE(w,0) WRITE(w,1) WRITE(w,2)

/* Group 0 removes one group that owns nothing and is in no move that is not closed; later it is made anew. */
#if NM==2
#define INANY(g) (INMOVE(g,1) || INMOVE(g,2))
#else
#define INANY(g) (INMOVE(g,1) || INMOVE(g,2) || INMOVE(g,3))
#endif
#define UNDECIDE(g,n) dec[n]=(dst[n]==g -> 0 : dec[n])
#define REMOVE(g) \
  :: d_step { !over && !rem[0] && !rem[1] && !rem[2] && !inc[0] && !inc[1] && !inc[2] && owner!=g && !INANY(g) -> \
       assert(st[g]==NOTHING); \
       rem[g]=1; mark[g]=0; D[g]=0; O[g]=0; discard(g); UNDECIDE(g,1); UNDECIDE(g,2); UNDECIDE(g,NM); purge() } \
  :: d_step { !over && rem[g] -> rem[g]=0; inc[g]=1 }

/* The faults stop, and all messages are lost. One healthy runner, a new leader of the source with an attempt of its
 * own, finishes everything. l bounds it: a runner that goes round in circles is an error too. */
#define FRESH (NA+1)
#define OURS(n) (impN[dst[n]]==n && impA[dst[n]]==FRESH)
#define COMPLETE(n) (OURS(n) && impZ[dst[n]] && !impP[dst[n]])
#define cDECIDE(n) (mv[n]==OPEN && !canc[n] && DSTUP(n) && SEALEDBY(n) && dec[n]==0)
#define cNOTEMPTY(n) (EMPTY && cSEAL(n) && D[src[n]])
inline finish() {
  over=1; b0=0; b1=0; l=0;
  do
  :: n=1; x=0;
     do
     :: n<=NM ->
        if
        :: mv[n]==0 -> skip
        :: mv[n] && cFORGET(n) -> k=mFORGET
        :: mv[n] && !cFORGET(n) -> if
        :: cCLOSE(n)  -> k=mCLOSE; i=CLOSEAS(n)
        :: else -> if
        :: cRECORD(n) -> k=mRECORD
        :: else -> if
        :: cDROP(n)   -> k=mDROP
        :: else -> if
        :: cUNSEAL(n) -> k=mUNSEAL
        :: else -> if
        :: cCANCEL(n) -> k=mCANCEL
        :: else -> if
        :: cREFUSE(n) -> k=mREFUSE
        :: else -> if
        :: cNOTEMPTY(n) -> canc[n]=1; x=1	/* the seal was answered "not empty" */
        :: else -> if
        :: cSEAL(n)   -> k=mSEAL
        :: else -> if
        :: cDECIDE(n) && COMPLETE(n) -> k=mTAKE; i=impI[dst[n]]; t=D[src[n]]; z=1
        :: cDECIDE(n) && !COMPLETE(n) -> k=mCHUNK; a=FRESH; p=WHOLE; z=1; t=D[src[n]]
        :: else -> skip
        fi fi fi fi fi fi fi fi fi fi;
        if
        :: k -> deliver(); assert(done); check(); x=1; y=n; clear(); n=y; y=0
        :: else -> skip
        fi;
        n=n+1
     :: else -> break
     od;
     l=l+1;
     assert(l<40);
     if
     :: x==0 -> break
     :: else -> skip
     fi
  od;
  l=0; clear();
  /* the end: one owner, the table's; no move open, nothing sealed, no import and no decision left behind */
  assert(EACH(OWNS,+) == 1);
  assert(st[owner]==OWNED);
  assert(st[0]!=SEALED && st[1]!=SEALED && st[2]!=SEALED);
  assert((mv[1]==0 || mv[1]==CLOSED) && (mv[2]==0 || mv[2]==CLOSED) && (mv[NM]==0 || mv[NM]==CLOSED));
  assert(impN[0]==0 && impN[1]==0 && impN[2]==0);
  assert(dec[1]==0 && dec[2]==0 && dec[NM]==0);
  /* all ends are one state */
  D[0]=0; D[1]=0; D[2]=0; O[0]=0; O[1]=0; O[2]=0; acked=0
}

c_decl { \#include <stdlib.h> }

active proctype world() {
  byte k, n, a, i, f, t, p, z, q, j, l, y; bit done; int x;
  d_step {
    c_code { now.out = getenv("OUT") ? atoi(getenv("OUT")) : 0; };
    st[0]=OWNED
  }
  do
  :: atomic {
       if
       RUNNER(1) STREAMER(1,1)
       RUNNER(2) STREAMER(2,1)
#if NM>2
       RUNNER(3) STREAMER(3,1)
#endif
#if NA>1
       STREAMER(1,2) STREAMER(2,2)
#if NM>2
       STREAMER(3,2)
#endif
#endif
       fi;
       if
       :: d_step { deliver(); check(); clear(); purge() }
       :: d_step { b0=MSG; clear(); purge() }
#if LATE>1
       :: d_step { b1=MSG; clear(); purge() }
#endif
       fi
     }
  META(1) META(2)
#if NM>2
  META(3)
#endif
  WRITES(1)
#if NW>1
  WRITES(2)
#endif
#ifndef NOREMOVE
  REMOVE(0) REMOVE(1) REMOVE(2)
#endif
  :: d_step { !over && b0 -> unpack(b0); deliver(); check(); clear(); purge() }
#if LATE>1
  :: d_step { !over && b1 -> unpack(b1); deliver(); check(); clear(); purge() }
#endif
  :: d_step { !over -> finish() }
  :: over -> break
  od
}
#endif
