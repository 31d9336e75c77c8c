//! Every text that says why a service is worse than it was, in every
//! language.

use super::table;

table! { Cause:
    // What is wrong.
    Slower = "Slower", "變慢";
    WasSlower = "Was slower", "曾變慢";
    Failing = "Failing", "錯誤增加";
    WasFailing = "Was failing", "曾錯誤增加";
    ShortOfProcessor = "Short of processor", "處理器不足";
    ShortOfMemory = "Short of memory", "記憶體吃緊";
    OutOfMemory = "Out of memory", "記憶體不足";
    GpuUsedUp = "GPU used to the full", "GPU 滿載";
    Starved = "Starved", "資源不足";
    WasStarved = "Was starved", "曾資源不足";
    OneKilled = "1 process killed", "1 個行程被終止";

    // Where its time goes.
    NearlyAll = "nearly all of it", "幾乎全部";
    InQueue = "in the queue, before the server reads,", "伺服器讀取前的排隊";
    InRead = "while the request is read,", "請求讀取";
    InApp = "in the application", "應用程式處理";
    InStream = "while the answer is written,", "回應寫出";
    InDrain = "while the answer leaves the socket,", "回應離開 socket";
    InSomePhase = "in one phase", "其中一個階段";

    // What happened beside it.
    NewImage = "new image", "更換映像檔";
    OneKilledOom = "a process killed: out of memory", "1 個行程因記憶體不足被終止";
    StartedAnew = "started anew", "重新啟動";
    Stopped = "stopped", "停止";
    Throttled = "throttled", "CPU 節流";
    MemoryNearLimit = "memory near its limit", "記憶體接近上限";
    GpuFull = "GPU full", "GPU 滿載";
    GpuIdle = "GPU idle", "GPU 閒置";
    MoreTraffic = "more traffic", "流量增加";
    HealthCheck = "health check", "健康檢查";

    // Around it.
    Colon = ": ", "：";
    ShowAround = "Show the time around it", "顯示前後的時段";
    Evidence = "Evidence", "依據";
    AsData = "As data", "原始資料";
}
