/* Follows moves that groups really made, step by step: what a group did with an entry, and what it holds afterwards, must
 * be what slotmove.pml says. shardmap/movetest writes the traces (proctype traces), one after the other, and says what
 * stands for what. A content is any number here. */
#define REPLAY
#define NM 120
#define NG 8
#define NA 1
#define CONTENT int
#define COUNT   int
#define ALLBITS 65535
#define EMPTY   z	/* of a seal z: only an empty slot, and p: it is one */
#define BARE(n) p
#include "slotmove.pml"

mtype = { TRACE, BEGIN, FLAG, WRITE, STEP, VIEW, DECISION, MOVE, REMOVAL, END };
chan c = [0] of { mtype, int, int, int, int, int, int, int, int, int };
int number, line;	/* of the trace, and of the event in it */

#define REFUSE(cond) \
  if \
  :: cond -> skip \
  :: else -> printf("refused: trace %d event %d: cond\n", number, line); assert(false) \
  fi

/* What a runner waits for stays true until its step takes effect, so it is true when that does. A seal, a cancel, a piece
 * and a takeover have guards alone. */
#define MAY(n) ( \
     (k!=mREFUSE || cREFUSE(n)) && (k!=mUNSEAL || cUNSEAL(n)) && (k!=mDROP || cDROP(n)) \
  && (k!=mRECORD || cRECORD(n)) && (k!=mCLOSE || cCLOSE(n)) && (k!=mFORGET || cFORGET(n)))

inline reset() {
  e=0;
  do
  :: e<NG -> st[e]=0; sealN[e]=0; mark[e]=0; D[e]=0; O[e]=0; discard(e); e=e+1
  :: else -> break
  od;
  e=0;
  do
  :: e<=NM -> mv[e]=0; src[e]=0; dst[e]=0; dec[e]=0; canc[e]=0; sealD[e]=0; took[e]=0; unsl[e]=0; e=e+1
  :: else -> break
  od
}

active proctype checker() {
  mtype what;
  int w1, w2, w3, w4, w5, w6, w7, w8, w9, e, f, t, i;
  byte k, n, a, p, z, j; bit done, may;
  do
  :: c ? what, w1, w2, w3, w4, w5, w6, w7, w8, w9 ->
    d_step {
     line=line+1;
     if
     :: what==TRACE ->			/* number, first owner */
        reset(); number=w1; line=0; st[w2]=OWNED; owner=w2
     :: what==BEGIN ->			/* move, source, target */
        REFUSE(mv[w1]==0 && owner==w2);
        REFUSE(w1==1 || mv[w1-1]>=TAKEN);
        mv[w1]=OPEN; src[w1]=w2; dst[w1]=w3
     :: what==FLAG ->
        REFUSE(mv[w1]==OPEN); canc[w1]=1
     :: what==WRITE ->			/* group, content: clients wrote, before the entry that follows */
        REFUSE(st[w1]==OWNED); D[w1]=w2; O[w1]=w2
     :: what==STEP ->			/* k, n, a, i, f, t, p, z, done */
        k=w1; n=w2; a=w3; i=w4; f=w5; t=w6; p=w7; z=w8;
        may=MAY(n);
        deliver(); check();
        REFUSE(done==w9);
        REFUSE(!done || may);
        done=0
     :: what==VIEW ->			/* group, holding, number of the seal, mark, import: number, attempt, pieces, at, partial */
        REFUSE(st[w1]==w2); REFUSE(sealN[w1]==w3); REFUSE(mark[w1]==w4);
        REFUSE(impN[w1]==w5); REFUSE(impA[w1]==w6); REFUSE(impI[w1]==w7); REFUSE(impB[w1]==w8); REFUSE(impP[w1]==w9)
     :: what==DECISION ->		/* move, decision */
        REFUSE(dec[w1]==w2)
     :: what==MOVE ->			/* move, state, cancelled, owner by the table */
        REFUSE(mv[w1]==w2); REFUSE(canc[w1]==w3)
     :: what==REMOVAL ->		/* group: the table may be without it. Its log may go on for a while, and no other has its id */
        REFUSE(st[w1]==NOTHING && owner!=w1);
        e=1;
        do
        :: e<=NM -> REFUSE(!INMOVE(w1,e)); e=e+1
        :: else -> break
        od;
        e=0
     :: what==END ->
        printf("followed %d traces\n", w1); e=1
     fi
    }
  :: e==1 -> break
  od
}
