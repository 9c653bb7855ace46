/* A lock between threads: POSIX's, or that of Windows, which has no C11 threads either. */
#ifndef SP_LOCK_H
#define SP_LOCK_H

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

typedef SRWLOCK sp_lock;

/* 1, or 0 where the system has no more of them. */
static inline int sp_lock_init(sp_lock *lock) {
    InitializeSRWLock(lock);
    return 1;
}

/* 1 once it is held, or 0. */
static inline int sp_lock_take(sp_lock *lock) {
    AcquireSRWLockExclusive(lock);
    return 1;
}

static inline void sp_lock_give(sp_lock *lock) {
    ReleaseSRWLockExclusive(lock);
}

static inline void sp_lock_free(sp_lock *lock) {
    (void)lock;
}

#else

#include <pthread.h>

typedef pthread_mutex_t sp_lock;

static inline int sp_lock_init(sp_lock *lock) {
    return pthread_mutex_init(lock, NULL) == 0;
}

static inline int sp_lock_take(sp_lock *lock) {
    return pthread_mutex_lock(lock) == 0;
}

static inline void sp_lock_give(sp_lock *lock) {
    pthread_mutex_unlock(lock);
}

static inline void sp_lock_free(sp_lock *lock) {
    pthread_mutex_destroy(lock);
}

#endif

#endif
