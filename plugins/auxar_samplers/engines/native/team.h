// Threads that run a function together and wait for each other at barriers.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

// A number that threads wait for until it changes.
//
// A thread that waits asks again and again at first, because most waits are shorter than a microsecond. While another
// program uses a processor, a thread may wait for milliseconds, so it sleeps after a while.
class Signal {
  public:
    uint64_t value() const { return number.load(std::memory_order_acquire); }
    void change(uint64_t to);
    // Returns the new value.
    uint64_t wait(uint64_t old);

  private:
    // The number has a cache line of its own, which waiting threads read again and again.
    alignas(64) std::atomic<uint64_t> number{0};
    alignas(64) std::atomic<int64_t> sleepers{0};
    std::atomic<int64_t> changed{0};  // when the number last changed while a thread slept, in nanoseconds
    std::mutex mutex;
    std::condition_variable woken;
};

// The threads that work for one thread of Python. They are kept from call to call.
//
// If a processor is busy with another program, the threads wait for the one that shares it. The team notices this by the
// processor time of each thread, and then uses only the calling thread for a while.
class Team {
  public:
    // The team of the calling thread.
    static Team &own();

    // Calls function(thread, threads) with the numbers 0 … threads - 1, in the calling thread and in others at the same
    // time. There may be fewer threads than asked for.
    template <class F> void run(int64_t asked, const F &function) {
        count = asked > 1 ? available(asked) : 1;
        if (count == 1) {
            function(int64_t{0}, int64_t{1});
            return;
        }
        argument = &function;
        call = [](const void *it, int64_t thread, int64_t of) { (*static_cast<const F *>(it))(thread, of); };
        begin();
        const Watch watch(began);
        function(int64_t{0}, count);
        note(watch);
        barrier();
        end();
    }

    // Waits until all threads that run the function have come here. What they wrote before can then be read.
    void barrier() {
        // As soon as the last thread has arrived, the next call may begin with another number of threads.
        const int64_t threads = count;
        if (threads == 1) return;
        const uint64_t old = phase.value();
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
            arrived.store(0, std::memory_order_relaxed);
            phase.change(old + 1);
        } else {
            phase.wait(old);
        }
    }

    Team();
    ~Team();
    Team(const Team &) = delete;
    Team &operator=(const Team &) = delete;

  private:
    // Measures for how long the current thread is kept from running.
    class Watch {
      public:
        // The thread should have run since `began`, in nanoseconds.
        explicit Watch(int64_t began);
        // Nanoseconds since then in which the thread neither ran nor waited in its sleep.
        int64_t stolen() const;

      private:
        int64_t elapsed, ran, slept;
    };

    int64_t available(int64_t asked);
    void begin();
    void end();
    void note(const Watch &watch);
    void work(int64_t thread, uint64_t seen);

    const int64_t process;  // the process that started the threads; a process that is forked from it has none of them
    int64_t count = 1;      // number of threads that run the function
    void (*call)(const void *, int64_t, int64_t) = nullptr;
    const void *argument = nullptr;
    // Times in nanoseconds: when the current call began, until when the calling thread works alone, and for how long it
    // did so after the last stall.
    int64_t began = 0, alone_until = 0, pause = 0;
    std::vector<std::thread> others;
    Signal calls;  // number of calls so far, and in its lowest 16 bits the number of threads; 0 threads end the team
    Signal phase;  // number of barriers so far
    alignas(64) std::atomic<int64_t> arrived{0};
    alignas(64) std::atomic<int64_t> stolen{0};  // the most that was stolen from a thread in the current call
};
