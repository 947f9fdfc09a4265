// Threads that are started, wait, and end.

#include "team.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// How often a thread asks before it sleeps: for about 40 microseconds on an Intel Xeon. Waking a thread takes longer, so
// it must be rare on an idle machine.
constexpr int MOST = 4000;
constexpr uint64_t MOST_THREADS = 0xFFFF;
// A call is stalled if one of its threads was kept from running for this share of its time, and for longer than other
// interruptions take.
constexpr double STALLED = 0.3;
constexpr int64_t INTERRUPTION = 300'000;  // nanoseconds
// For how long the calling thread works alone after the first stall, in nanoseconds. This doubles with each further
// stall, up to a limit, and is halved after as long a time without one.
constexpr int64_t SHORTEST_PAUSE = 20'000'000, LONGEST_PAUSE = 160'000'000;

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
}

int64_t nanoseconds() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

// The time for which the current thread ran.
int64_t processor_nanoseconds() {
    timespec found{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &found);
    return int64_t{1'000'000'000} * found.tv_sec + found.tv_nsec;
}

thread_local int64_t slept_by_thread = 0;  // nanoseconds in `Signal::wait`

}  // namespace

void Signal::change(uint64_t to) {
    // The order of all threads' operations on both numbers makes sure that a thread which goes to sleep either finds
    // the new value, or is found by this function.
    if (sleepers.load(std::memory_order_relaxed) > 0) changed.store(nanoseconds(), std::memory_order_relaxed);
    number.store(to, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) == 0) return;
    std::lock_guard<std::mutex> lock(mutex);
    woken.notify_all();
}

uint64_t Signal::wait(uint64_t old) {
    for (int k = 0; k < MOST; k++) {
        if (const uint64_t found = value(); found != old) return found;
        relax();
    }
    const int64_t start = nanoseconds();
    {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1, std::memory_order_seq_cst);
        woken.wait(lock, [&] { return number.load(std::memory_order_seq_cst) != old; });
        sleepers.fetch_sub(1, std::memory_order_relaxed);
    }
    // A thread that is woken may still have to wait for a processor. This time does not count as sleep.
    const int64_t end = changed.load(std::memory_order_relaxed);
    slept_by_thread += (end > start ? end : nanoseconds()) - start;
    return value();
}

Team::Watch::Watch(int64_t began) : elapsed(began), ran(processor_nanoseconds()), slept(slept_by_thread) {}

int64_t Team::Watch::stolen() const {
    const int64_t used = processor_nanoseconds() - ran + slept_by_thread - slept;
    return nanoseconds() - elapsed - used;
}

Team::Team() : process(getpid()) {}

Team::~Team() {
    if (others.empty()) return;
    calls.change((calls.value() | MOST_THREADS) + 1);
    for (std::thread &other : others) other.join();
}

Team &Team::own() {
    struct Owner {
        Team *team = nullptr;
        ~Owner() {
            if (team != nullptr && team->process == getpid()) delete team;
        }
    };
    thread_local Owner owner;
    // The threads of a team do not exist in a process that was forked afterwards, so the team is left as it is.
    if (owner.team == nullptr || owner.team->process != getpid()) owner.team = new Team;
    return *owner.team;
}

int64_t Team::available(int64_t asked) {
    if (alone_until > 0 && nanoseconds() < alone_until) return 1;
    asked = std::min(asked, static_cast<int64_t>(MOST_THREADS));
    try {
        while (static_cast<int64_t>(others.size()) + 1 < asked) {
            const int64_t number = static_cast<int64_t>(others.size()) + 1;
            others.emplace_back([this, number, seen = calls.value()] { work(number, seen); });
        }
    } catch (const std::system_error &) {  // The system refuses to start more threads.
        return static_cast<int64_t>(others.size()) + 1;
    }
    return asked;
}

void Team::begin() {
    began = nanoseconds();
    stolen.store(0, std::memory_order_relaxed);
    calls.change((calls.value() | MOST_THREADS) + 1 + static_cast<uint64_t>(count));
}

void Team::end() {
    const int64_t now = nanoseconds(), most = stolen.load(std::memory_order_relaxed);
    if (most > INTERRUPTION && static_cast<double>(most) > STALLED * static_cast<double>(now - began)) {
        pause = std::clamp(2 * pause, SHORTEST_PAUSE, LONGEST_PAUSE);
        alone_until = now + pause;
    } else if (pause > 0 && now > alone_until + pause) {
        pause = pause > SHORTEST_PAUSE ? pause / 2 : 0;
        alone_until = pause > 0 ? now : 0;
    }
}

void Team::note(const Watch &watch) {
    const int64_t own = watch.stolen();
    int64_t most = stolen.load(std::memory_order_relaxed);
    while (own > most && !stolen.compare_exchange_weak(most, own, std::memory_order_relaxed)) {}
}

void Team::work(int64_t thread, uint64_t seen) {
    while (true) {
        seen = calls.wait(seen);
        const int64_t threads = static_cast<int64_t>(seen & MOST_THREADS);
        if (threads == 0) return;
        // A thread that does not take part may still be here when the next call begins, so it reads nothing else.
        if (thread >= threads) continue;
        const Watch watch(began);
        call(argument, thread, threads);
        note(watch);
        barrier();
    }
}
